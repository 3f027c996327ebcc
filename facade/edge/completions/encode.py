"""Continuations in the words of OpenAI's old completions."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from facade.domain.events import ModelEvent, ModelFinished, ModelStarted
from facade.edge.chat.encode import usage_body
from threadmesh.conversation import TextDelta, TokenLogprob, Usage


@dataclass(slots=True)
class Choice:
    """One continuation behind its `echo`: what was said, where the next token stands in characters, how it ended."""

    index: int
    echo: str
    offset: int
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str | None = None

    def told(self, text: str, logprobs: Sequence[TokenLogprob] | None, *, reason: str | None = None) -> dict[str, Any]:
        """Give a piece of it, or all of it."""
        return {
            "index": self.index,
            "text": text,
            "logprobs": None if logprobs is None else self._logprobs(logprobs),
            "finish_reason": reason,
        }

    def _logprobs(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        tokens = [_text(each) for each in logprobs]
        offsets = []
        for token in tokens:
            offsets.append(self.offset)
            self.offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [each.logprob for each in logprobs],
            "top_logprobs": [{_text(other): other.logprob for other in (*each.top, each)} for each in logprobs],
            "text_offset": offsets,
        }


class Completion:
    """Collects continuations: `echoes` are the prompts that stand before them, one for each, empty for none.

    `choices` continuations are of one prompt, which counts once.
    """

    def __init__(self, name: str, echoes: Sequence[str], *, choices: int, logprobs: bool) -> None:
        self._name, self._logprobs, self._of_one_prompt = name, logprobs, choices
        self._created = int(time.time())
        self._model = ""
        self._fingerprint: str | None = None
        self._usage = Usage()
        self._choices = [Choice(index, echo, offset=len(echo)) for index, echo in enumerate(echoes)]

    def take(self, number: int, event: ModelEvent) -> dict[str, Any] | None:
        """Take in what comes next of a continuation; gives the chunk that tells of it, if one does."""
        choice = self._choices[number]
        match event:
            case ModelStarted(model=model, fingerprint=fingerprint):
                self._model, self._fingerprint = model, fingerprint or None
                return self._chunk(choice.told(choice.echo, self._none)) if choice.echo else None
            case TextDelta(text=text, logprobs=logprobs) if text or logprobs:
                choice.text += text
                choice.logprobs += logprobs
                return self._chunk(choice.told(text, logprobs if self._logprobs else None))
            case ModelFinished(reason=reason, usage=usage):
                choice.reason = reason.value
                again = number % self._of_one_prompt
                self._usage += replace(usage, prompt_tokens=0, cached_tokens=0) if again else usage
                return self._chunk(choice.told("", self._none, reason=choice.reason))
            case _:
                return None

    def usage(self) -> dict[str, Any]:
        """Give the chunk that tells what all of it consumed."""
        return {**self._envelope(), "choices": [], "usage": usage_body(self._usage)}

    def body(self) -> dict[str, Any]:
        """Give the whole, once everything has ended."""
        choices = [self._whole(choice) for choice in self._choices]
        return {**self._envelope(), "choices": choices, "usage": usage_body(self._usage)}

    def _whole(self, choice: Choice) -> dict[str, Any]:
        again = replace(choice, offset=len(choice.echo))
        logprobs = choice.logprobs if self._logprobs else None
        return again.told(choice.echo + choice.text, logprobs, reason=choice.reason)

    @property
    def _none(self) -> Sequence[TokenLogprob] | None:
        return () if self._logprobs else None

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {**self._envelope(), "choices": [choice]}

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._fingerprint,
        }


def _text(token: TokenLogprob) -> str:
    return token.token.decode("utf-8", errors="replace")
