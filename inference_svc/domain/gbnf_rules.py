"""A GBNF grammar as rules, read as llama.cpp reads it (`llama-grammar.cpp`), so that it can be judged beforehand."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_ESCAPE = r'\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[trn\\"\[\]-])'
_TOKEN = re.compile(
    rf"""
      (?P<blank>(?:[ \t]|\#[^\r\n]*)+)
    | (?P<newline>[\r\n]+)
    | (?P<literal>"(?:[^"\\]|{_ESCAPE})*")
    | (?P<chars>\[\^?(?:[^\]\\]|{_ESCAPE})*\] | \.)
    | (?P<name>[A-Za-z0-9-]+)
    | (?P<is>::=)
    | (?P<bracket>[()|])
    | (?P<times>[*+?] | \{{\s*(?P<least>[0-9]+)\s*(?P<comma>,\s*(?P<most>[0-9]*)\s*)?\}})
    | (?P<token>!?<)
    """,
    re.VERBOSE,
)
_EMPTY = frozenset({'""', "[]", "[^]"})


class GbnfError(ValueError):
    """The text is not GBNF that is offered; the message says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A `rule`, or text where none is named, `least` to `most` times; None is without end."""

    rule: str = ""
    least: int = 1
    most: int | None = 1


Alternative = tuple[Symbol, ...]
Rules = dict[str, list[Alternative]]


@dataclass(slots=True)
class _Open:
    """A rule or a group that is being read."""

    name: str
    alternatives: list[Alternative] = field(default_factory=list)
    symbols: list[Symbol] = field(default_factory=list)
    repeatable: bool = False


def read_rules(gbnf: str) -> Rules:
    """Give the rules by name, each with its alternatives; groups are rules too, their names hold a `_`.

    Raises `GbnfError`. Where a rule is defined twice the last definition counts, as in llama.cpp.
    """
    return _Reader(gbnf).read()


class _Reader:
    def __init__(self, gbnf: str) -> None:
        self._gbnf = gbnf
        self._rules: Rules = {}
        self._open: list[_Open] = []
        self._named = ""
        self._groups = 0
        self._goes_on = False
        """Whether a newline is mere space here, as behind `::=` and `|`."""

    def read(self) -> Rules:
        for match in self._tokens():
            kind = match.lastgroup
            if kind == "blank":
                continue
            if not self._open:
                self._head(match)
            elif kind == "newline":
                if len(self._open) == 1 and not self._goes_on:
                    self._close()
            else:
                self._goes_on = False
                self._item(match)
        if self._named or len(self._open) > 1:
            raise self._wrong(len(self._gbnf), "the grammar ends too early")
        if self._open:
            self._close()
        return self._rules

    def _tokens(self) -> Iterator[re.Match[str]]:
        at = 0
        while at < len(self._gbnf):
            match = _TOKEN.match(self._gbnf, at)
            if match is None:
                raise self._wrong(at, "this cannot be read")
            yield match
            at = match.end()

    def _head(self, match: re.Match[str]) -> None:
        """Read the name of a rule, then its `::=`."""
        if match["newline"] and not self._named:
            return
        if match["name"] and not self._named:
            self._named = match["name"]
        elif match["is"] and self._named:
            self._open, self._named, self._goes_on = [_Open(self._named)], "", True
        else:
            raise self._wrong(match.start(), "a rule is written `name ::= ...`")

    def _item(self, match: re.Match[str]) -> None:
        now = self._open[-1]
        match match.lastgroup:
            case "times":
                self._repeat(now, match)
            case "bracket":
                self._bracket(now, match)
            case "name":
                self._add(now, Symbol(rule=match[0]))
            case "literal" | "chars":
                self._add(now, *(() if match[0] in _EMPTY else (Symbol(),)))
            case "token":
                raise GbnfError("`<...>` names a token, which is not offered; write its text")
            case _:
                raise self._wrong(match.start(), "a rule ends with its line")

    def _bracket(self, now: _Open, match: re.Match[str]) -> None:
        if match[0] == "|":
            now.alternatives.append(tuple(now.symbols))
            now.symbols, now.repeatable, self._goes_on = [], False, True
        elif match[0] == "(":
            self._open.append(_Open(self._group()))
        elif len(self._open) == 1:
            raise self._wrong(match.start(), "a parenthesis is not opened")
        else:
            self._close()
            self._add(self._open[-1], Symbol(rule=now.name))

    def _close(self) -> None:
        done = self._open.pop()
        self._rules[done.name] = [*done.alternatives, tuple(done.symbols)]

    def _group(self) -> str:
        self._groups += 1
        return f"{self._open[0].name}_{self._groups}"

    def _add(self, now: _Open, *symbols: Symbol) -> None:
        now.symbols += symbols
        now.repeatable = bool(symbols)

    def _repeat(self, now: _Open, match: re.Match[str]) -> None:
        least, most = _times(match)
        if not now.repeatable:
            raise self._wrong(match.start(), "there is nothing to repeat")
        if most is not None and most < least:
            raise self._wrong(match.start(), "a repetition has its larger number first")
        repeated = now.symbols.pop()
        if (repeated.least, repeated.most) != (1, 1):
            name = self._group()
            self._rules[name] = [(repeated,)]
            repeated = Symbol(rule=name)
        now.symbols.append(replace(repeated, least=least, most=most))

    def _wrong(self, at: int, what: str) -> GbnfError:
        return GbnfError(f"line {self._gbnf.count(chr(10), 0, at) + 1}: {what}")


def _times(match: re.Match[str]) -> tuple[int, int | None]:
    simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
    if match[0] in simple:
        return simple[match[0]]
    least = int(match["least"][:9])
    if match["comma"] is None:
        return least, least
    return least, int(match["most"][:9]) if match["most"] else None
