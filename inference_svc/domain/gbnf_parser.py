"""The reading of GBNF, the notation of llama.cpp's grammars. Pure.

What is read is what `src/llama-grammar.cpp` of llama.cpp reads, but for tokens (`<think>`, `<[1000]>`), which stand for
no characters.
"""

import re
from collections.abc import Iterator, Mapping

from inference_svc.domain.gbnf import Alternatives, Characters, Group, Item, Name, Ranges, Repeat, Rules, Sequence

_LARGEST_TEXT = 65_536
_DEEPEST = 64
_MOST_TIMES = 2_000
_LARGEST_CODE = 0x10FFFF

_TOKEN = re.compile(
    r"""
      (?P<skip>[ \t]+|\#[^\r\n]*)
    | (?P<newline>\r\n?|\n)
    | "(?P<literal>(?:[^"\\]|\\.)*)"
    | \[(?P<class>(?:[^\]\\]|\\.)*)\]
    | \{\s*(?P<times>[0-9]+\s*(?:,\s*[0-9]*\s*)?)\}
    | (?P<mark>::=|[()|?*+.])
    | (?P<name>[A-Za-z0-9-]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_UNIT = re.compile(r"\\(?:x(?P<x>[0-9A-Fa-f]{2})|u(?P<u>[0-9A-Fa-f]{4})|U(?P<U>[0-9A-Fa-f]{8})|(?P<c>.))|.", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_TIMES: Mapping[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}
_ANY: Ranges = ((0, _LARGEST_CODE),)


def parse_gbnf(gbnf: str) -> Rules | None:
    """Give the rules of a grammar.

    None for what cannot be read, for what is longer than 65,536 characters, and for what nests deeper than 64
    parentheses: this is for those who can do without.
    """
    if len(gbnf) > _LARGEST_TEXT:
        return None
    try:
        return _Parser(gbnf).rules()
    except _Unreadable:
        return None


class _Unreadable(ValueError):
    """This is no GBNF, or too much of it."""


class _Parser:
    """Reads a grammar from left to right; one method for each level of the notation."""

    def __init__(self, gbnf: str) -> None:
        self._tokens = [*_tokens(gbnf), ("end", "")]
        self._at = 0
        self._mentioned = {"root"}
        self._characters: dict[Ranges, Characters] = {}

    def rules(self) -> Rules:
        rules = {}
        self._skip_lines()
        while self._kind != "end":
            name = self._take("name")
            self._take("mark", "::=")
            self._skip_lines()
            rules[name] = self._alternatives(depth=0)
            if self._kind != "end":
                self._take("newline")
            self._skip_lines()
        if not self._mentioned <= rules.keys():
            raise _Unreadable
        return rules

    @property
    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _take(self, kind: str, text: str = "") -> str:
        found, written = self._tokens[self._at]
        if found != kind or (text and written != text):
            raise _Unreadable
        self._at += 1
        return written

    def _takes(self, mark: str) -> bool:
        found = self._tokens[self._at] == ("mark", mark)
        self._at += found
        return found

    def _skip_lines(self) -> None:
        while self._kind == "newline":
            self._at += 1

    def _alternatives(self, *, depth: int) -> Alternatives:
        if depth > _DEEPEST:
            raise _Unreadable
        found = [self._sequence(depth)]
        while self._takes("|"):
            self._skip_lines()
            found.append(self._sequence(depth))
        return tuple(found)

    def _sequence(self, depth: int) -> Sequence:
        """Read up to the end of an alternative; outside of parentheses a line's end is one."""
        items: list[Item] = []
        last: Sequence = ()
        while True:
            if depth:
                self._skip_lines()
            if (times := self._times()) is not None:
                last = (self._repeat(last, *times),)
            elif (read := self._symbol(depth)) is not None:
                items += last
                last = read
            else:
                return (*items, *last)

    def _repeat(self, repeated: Sequence, least: int, most: int | None) -> Item:
        if not repeated or (most is not None and most < least):
            raise _Unreadable
        only = repeated[0] if len(repeated) == 1 else None
        return Repeat(only.alternatives if isinstance(only, Group) else (repeated,), least, most)

    def _times(self) -> tuple[int, int | None] | None:
        """Read how often what came before is repeated; None if nothing is said about it."""
        kind, text = self._tokens[self._at]
        if kind == "mark" and text in _TIMES:
            self._at += 1
            return _TIMES[text]
        if kind != "times":
            return None
        self._at += 1
        least, comma, most = text.partition(",")
        upper = _number(most) if most.strip() else None if comma else _number(least)
        if _number(least) > _MOST_TIMES:
            raise _Unreadable
        return _number(least), None if upper is not None and upper > _MOST_TIMES else upper

    def _symbol(self, depth: int) -> Sequence | None:
        """Read what can be repeated as one; None where an alternative ends."""
        kind, text = self._tokens[self._at]
        if kind in ("end", "newline") or (kind == "mark" and text in ("|", ")", "::=")):
            return None
        self._at += 1
        if kind == "literal":
            return tuple(self._one_of(((code, code),)) for code, _ in _units(text))
        if kind == "class":
            return self._class(text)
        if kind == "name":
            self._mentioned.add(text)
            return (Name(text),)
        if text == ".":
            return (self._one_of(_ANY),)
        alternatives = self._alternatives(depth=depth + 1)
        self._take("mark", ")")
        return (Group(alternatives),)

    def _class(self, written: str) -> Sequence:
        """Read a character class; an empty one stands for no character at all, as in llama.cpp."""
        negated = written.startswith("^")
        if not written[negated:]:
            return ()
        ranges = sorted(pair for pair in _ranges(written[negated:]) if pair[0] <= pair[1])
        return (self._one_of(_others(ranges) if negated else tuple(ranges)),)

    def _one_of(self, ranges: Ranges) -> Characters:
        return self._characters.setdefault(ranges, Characters(ranges))


def _number(digits: str) -> int:
    return min(int(digits.strip()[:9]), _MOST_TIMES + 1)


def _tokens(gbnf: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(gbnf):
        match = _TOKEN.match(gbnf, at)
        if match is None or match.lastgroup is None:
            raise _Unreadable
        if match.lastgroup != "skip":
            yield match.lastgroup, match[match.lastgroup]
        at = match.end()


def _units(written: str) -> Iterator[tuple[int, bool]]:
    """Give the code points of a literal or a class, and whether each is a hyphen that may make a range."""
    for match in _UNIT.finditer(written):
        if digits := match["x"] or match["u"] or match["U"]:
            yield int(digits, 16), False
        elif (char := match["c"]) is not None:
            if char not in _ESCAPED:
                raise _Unreadable
            yield ord(_ESCAPED[char]), False
        else:
            yield ord(match[0]), match[0] == "-"


def _ranges(written: str) -> Iterator[tuple[int, int]]:
    units = list(_units(written))
    at = 0
    while at < len(units):
        low, high = units[at][0], units[at][0]
        at += 1
        if at + 1 < len(units) and units[at][1]:
            high = units[at + 1][0]
            at += 2
        yield low, high


def _others(ranges: list[tuple[int, int]]) -> Ranges:
    """Give the code points that are in none of the ranges, which are in order."""
    found, begin = [], 0
    for low, high in ranges:
        if begin < low:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    return (*found, (begin, _LARGEST_CODE)) if begin <= _LARGEST_CODE else tuple(found)
