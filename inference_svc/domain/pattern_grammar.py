"""Regular expressions as GBNF: the subset that a grammar can follow without backtracking, written as JSON text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_GROUPS = 16
MAX_REPETITION = 1_000
MAX_NESTED_REPETITION = 2_000

Ranges = tuple[tuple[int, int], ...]

_UNICODE: Ranges = ((0x00, 0xD7FF), (0xE000, 0x10FFFF))
_DIGITS: Ranges = ((0x30, 0x39),)
_WORDS: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACES: Ranges = ((0x09, 0x0D), (0x20, 0x20))
_PRINTABLE: Ranges = ((0x20, 0x7E),)
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_QUANTIFIER = re.compile(r"([*+?]|\{(\d{1,4})(,(\d{0,4}))?\})\??")


class UnsupportedPattern(ValueError):
    """The pattern is beyond the subset; the message says why."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An expression; `rules` is how many rules llama.cpp makes of it, which it bounds before it repeats them."""

    text: str
    unbounded: bool = False
    rules: int = 0


def quote(text: str) -> str:
    """Write a text as a GBNF literal."""
    return '"' + "".join(_quoted(char) for char in text) + '"'


def json_text(text: str) -> str:
    """Write a text as it stands between the quotes of a JSON string."""
    return "".join(_ESCAPED.get(char, char if ord(char) >= 0x20 else f"\\u{ord(char):04x}") for char in text)


def pattern(source: str, *, anything: str) -> str:
    """Give an expression for the JSON texts whose content matches; `anything` stands where the pattern has no anchor.

    Raises `UnsupportedPattern` for look-around, references, properties, word borders and nested unbounded repetition.
    """
    begin = source.startswith("^")
    end = source.endswith("$") and not source.endswith("\\$")
    body = _Reader(source[1 if begin else 0 : len(source) - 1 if end else len(source)]).read()
    return " ".join(part for part in ("" if begin else anything, body, "" if end else anything) if part)


def characters(ranges: Ranges) -> str:
    """Give an expression for one character of the ranges, escaped where JSON wants it."""
    plain = _without(_both(ranges, _UNICODE), ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C)))
    parts = ["[" + "".join(f"{_code(low)}-{_code(high)}" for low, high in plain) + "]"] if plain else []
    parts += [quote(json_text(char)) for char in _ESCAPED if any(low <= ord(char) <= high for low, high in ranges)]
    if not parts:
        raise UnsupportedPattern("a character class is empty")
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


class _Reader:
    """Reads a pattern from left to right; one method for each level of its grammar."""

    def __init__(self, source: str) -> None:
        self._source, self._at, self._groups = source, 0, 0

    def read(self) -> str:
        part = self._alternatives()
        if self._at < len(self._source):
            raise UnsupportedPattern("a parenthesis is not opened")
        return part.text

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise UnsupportedPattern("the pattern ends too early")
        self._at += 1
        return char

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        text = " | ".join(part.text or '""' for part in parts)
        return _Part(
            f"({text})" if len(parts) > 1 else parts[0].text, any(part.unbounded for part in parts), 1 + _rules(parts)
        )

    def _sequence(self) -> _Part:
        parts = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated())
        text = " ".join(part.text for part in parts if part.text)
        return _Part(text, any(part.unbounded for part in parts), _rules(parts))

    def _repeated(self) -> _Part:
        part = self._atom()
        if not (match := _QUANTIFIER.match(self._source, self._at)):
            return part
        self._at = match.end()
        least, most = _times(match)
        if most is None and part.unbounded:
            raise UnsupportedPattern("an unbounded repetition is inside another")
        rules = 1 + part.rules
        if rules * max(1, most or least) > MAX_NESTED_REPETITION:
            raise UnsupportedPattern(f"nested repetitions multiply to more than {MAX_NESTED_REPETITION}")
        suffix = f"{{{least},{'' if most is None else most}}}"
        rules += 1 if most is None else most - least
        return _Part(f"({part.text}){suffix}" if part.text else "", part.unbounded or most is None, rules)

    def _atom(self) -> _Part:
        char = self._take()
        readers: dict[str, Callable[[], _Part]] = {"(": self._group, "[": self._bracket, "\\": self._backslash}
        if char in readers:
            return readers[char]()
        if char == ".":
            return _Part(characters(_without(_UNICODE, ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)))))
        if char in "*+?{^$":
            raise UnsupportedPattern(f"{char} stands where it cannot")
        return _Part(quote(json_text(char)))

    def _group(self) -> _Part:
        self._groups += 1
        if self._groups > MAX_GROUPS:
            raise UnsupportedPattern(f"there are more than {MAX_GROUPS} groups")
        if self._source.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise UnsupportedPattern("look-around and named groups are not offered")
        part = self._alternatives()
        if self._peek() != ")":
            raise UnsupportedPattern("a parenthesis is not closed")
        self._at += 1
        return _Part(f"({part.text})" if part.text else "", part.unbounded, 1 + part.rules)

    def _backslash(self) -> _Part:
        return _Part(characters(_class_of(self._take())))

    def _bracket(self) -> _Part:
        negated = self._peek() == "^"
        self._at += negated
        found: Ranges = ()
        while self._peek() != "]":
            found += self._bracket_item()
        self._at += 1
        return _Part(characters(_without(_UNICODE, found) if negated else found))

    def _bracket_item(self) -> Ranges:
        first = self._bracket_char()
        if self._peek() != "-" or self._source[self._at + 1 : self._at + 2] in ("]", ""):
            return first
        self._at += 1
        last = self._bracket_char()
        if len(first) != 1 or len(last) != 1 or first[0][0] != first[0][1] or first[0][0] > last[0][0]:
            raise UnsupportedPattern("a range in a character class is wrong")
        return ((first[0][0], last[0][1]),)

    def _bracket_char(self) -> Ranges:
        char = self._take()
        if char == "\\":
            return _class_of(self._take())
        if char == "[":
            raise UnsupportedPattern("a bracket inside a character class must be escaped")
        return ((ord(char), ord(char)),)


def _rules(parts: Sequence[_Part]) -> int:
    return sum(part.rules for part in parts)


def _times(match: re.Match[str]) -> tuple[int, int | None]:
    simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
    if match[1] in simple:
        return simple[match[1]]
    least = int(match[2])
    most = least if match[3] is None else int(match[4]) if match[4] else None
    if max(least, most or 0) > MAX_REPETITION or (most is not None and most < least):
        raise UnsupportedPattern(f"a repetition is wrong or more than {MAX_REPETITION}")
    return least, most


def _class_of(char: str) -> Ranges:
    """Give the characters of an escape. The negated classes keep to ASCII, where all dialects agree on them."""
    classes = {
        "d": _DIGITS,
        "w": _WORDS,
        "s": _SPACES,
        "D": _without(_PRINTABLE, _DIGITS),
        "W": _without(_PRINTABLE, _WORDS),
        "S": _without(_PRINTABLE, _SPACES),
    }
    if char in classes:
        return classes[char]
    if char.isalnum() and char not in _CONTROLS:
        raise UnsupportedPattern(f"\\{char} is not offered")
    plain = ord(_CONTROLS.get(char, char))
    return ((plain, plain),)


def _both(left: Ranges, right: Ranges) -> Ranges:
    return tuple(
        (max(low, least), min(high, most))
        for low, high in left
        for least, most in right
        if max(low, least) <= min(high, most)
    )


def _without(ranges: Ranges, removed: Sequence[tuple[int, int]]) -> Ranges:
    for least, most in removed:
        ranges = tuple(
            (low, high)
            for begin, end in ranges
            for low, high in ((begin, min(end, least - 1)), (max(begin, most + 1), end))
            if low <= high
        )
    return ranges


def _code(point: int) -> str:
    return f"\\U{point:08X}"


def _quoted(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if " " <= char <= "~" else _code(ord(char))
