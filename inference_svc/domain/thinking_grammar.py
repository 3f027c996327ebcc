"""A grammar for answers that begin inside the model's thinking: anything up to its end, and then what the answer is."""

import re

_ANSWER = "thinking-answer"
_NAME = re.compile(r'#[^\n]*|"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[A-Za-z0-9-]+', re.DOTALL)


def after_thinking(gbnf: str, *, end: str) -> str:
    """Give a grammar that admits any text up to the marker `end`, a little space, and then what `gbnf` admits.

    Its rules are the states of the search for the marker (Knuth, Morris, Pratt 1977), so no text before the marker
    holds it, and a token that reaches beyond the marker is read to its last character.
    """
    answer = _NAME.sub(lambda name: _ANSWER if name[0] == "root" else name[0], gbnf)
    states = [f"{_rule(state)} ::= {_state(end, state)}" for state in range(len(end))]
    begin = [f"root ::= {_rule(0)}", *states, f"{_rule(len(end))} ::= [ \\t\\r\\n]{{0,4}} {_ANSWER}"]
    return "\n".join([*begin, answer])


def _state(marker: str, state: int) -> str:
    """Give what may follow when the first `state` characters of the marker were read."""
    nexts = {char: _next(marker, state, char) for char in sorted(set(marker))}
    known = [f"[{_code(char)}] {_rule(after)}" for char, after in nexts.items() if after]
    others = "".join(_code(char) for char, after in nexts.items() if after)
    return " | ".join([*known, f"[^{others}] {_rule(0)}"])


def _next(marker: str, state: int, char: str) -> int:
    """Count the characters of the marker that have been read once `char` follows."""
    read = marker[:state] + char
    return next(size for size in range(len(read), -1, -1) if read.endswith(marker[:size]))


def _rule(state: int) -> str:
    return f"thinking-{state}"


def _code(char: str) -> str:
    return f"\\x{ord(char):02X}"
