"""Texts that no server has seen before."""

from pathlib import Path
from random import Random
from typing import Any

_WORDS = Path(__file__).with_name("words.txt").read_text("ascii").split()
_SENTENCE_WORDS = (7, 14)
_TOOLS = 6
_PARAMETERS = 3
_CHARACTER_WORDS = 200
_TOOL_WORDS = 30

Message = dict[str, Any]


class Prompts:
    """A source of texts that depends on its `place` alone (scenario, condition, round): equal places, equal texts."""

    def __init__(self, *place: object) -> None:
        self._random = Random("/".join(map(str, place)))

    def text(self, words: int) -> str:
        """Give sentences of exactly so many words together."""
        sentences = []
        while words > 0:
            length = min(words, self._random.randint(*_SENTENCE_WORDS))
            sentences.append(" ".join(self._random.choices(_WORDS, k=length)).capitalize() + ".")
            words -= length
        return " ".join(sentences)

    def persona(self) -> str:
        """Give what a bot's system prompt holds, in about 500 tokens: a character and descriptions of its tools."""
        tools = "\n".join(self._tool() for _ in range(_TOOLS))
        name = self._random.choice(_WORDS).capitalize()
        return f"You are {name}. {self.text(_CHARACTER_WORDS)}\n\nYou can use these tools:\n{tools}"

    def _tool(self) -> str:
        name, *parameters = self._random.choices(_WORDS, k=1 + _PARAMETERS)
        return f"- {name}({', '.join(parameters)}): {self.text(_TOOL_WORDS)}"


def system(text: str) -> Message:
    """Give a system message."""
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    """Give a user's message."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """Give an earlier answer."""
    return {"role": "assistant", "content": text}
