"""Whether llama.cpp can follow a grammar: what it would hang at, die of or never come to the end of is refused.

llama.cpp keeps one stack for each way in which a text may go on, and walks all ways from a rule to its first
characters whenever it enters the rule. It looks for rules that begin with themselves, but not behind rules that may be
empty; there it never ends. A grammar that leads to a place without a way out would fail in the middle of an answer.
"""

from collections import defaultdict
from collections.abc import Iterator

from inference_svc.domain.gbnf_rules import Alternative, GbnfError, Rules, Symbol, read_rules
from threadmesh.errors import UnsupportedSchema

MAX_WAYS = 4_000
"""Ways from one place to the next character, and rules on one of them; 2,000 optional properties need as many."""


def check_rules(gbnf: str, *, field: str) -> None:
    """Return if the grammar can be followed to its end. Raises `UnsupportedSchema`, whose message names the rule."""
    try:
        _Check(read_rules(gbnf)).run()
    except GbnfError as error:
        raise UnsupportedSchema(f"The grammar is not valid: {error}.", field=field, kind="schema_unsupported") from None
    except _Refusal as error:
        raise UnsupportedSchema(str(error), field=field, kind=error.kind) from None


class _Refusal(Exception):
    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Check:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._empty: set[str] = set()
        self._ways: dict[str, int] = {}

    def run(self) -> None:
        self._require_definitions()
        self._empty = self._leading(text=False)
        self._count_ways()
        self._require_ends()

    def _require_definitions(self) -> None:
        if "root" not in self._rules:
            raise GbnfError("it needs a rule `root`")
        for name in self._rules:
            for symbol in self._symbols(name):
                if symbol.rule and symbol.rule not in self._rules:
                    raise GbnfError(f"rule `{symbol.rule}`, which `{_shown(name)}` names, is not defined")

    def _symbols(self, name: str) -> Iterator[Symbol]:
        return (symbol for alternative in self._rules[name] for symbol in alternative)

    def _leading(self, *, text: bool) -> set[str]:
        """Give the rules that have an alternative of which all is optional, such a rule itself, or (if so) `text`."""
        users: dict[str, list[int]] = defaultdict(list)
        owners: list[str] = []
        missing: list[int] = []
        found: list[str] = []
        for name, alternatives in self._rules.items():
            for alternative in alternatives:
                needed = [each.rule for each in alternative if each.least and not (text and not each.rule)]
                for rule in needed:
                    users[rule].append(len(owners))
                owners.append(name)
                missing.append(len(needed))
                if not needed:
                    found.append(name)
        known: set[str] = set()
        while found:
            name = found.pop()
            if name not in known:
                known.add(name)
                for place in users[name]:
                    missing[place] -= 1
                    if not missing[place]:
                        found.append(owners[place])
        return known

    def _count_ways(self) -> None:
        depths: dict[str, int] = {}
        for name in self._inner_first():
            depths[name] = 1 + max((depths[each] for each in self._beginnings(name)), default=0)
            self._ways[name] = sum(self._ways_into(each) for each in self._rules[name])
            self._within(name, max(depths[name], self._ways[name]))
        for name, alternatives in self._rules.items():
            for alternative in alternatives:
                ways = 0
                for symbol in reversed(alternative):
                    ways = self._ways_of(symbol) + (ways if self._skips(symbol) else 0)
                    self._within(name, ways)

    def _inner_first(self) -> Iterator[str]:
        """Give each rule after those that it begins with."""
        done: set[str] = set()
        for start in self._rules:
            path = {start: self._beginnings(start)} if start not in done else {}
            while path:
                name = next(reversed(path))
                inner = next(path[name], None)
                if inner is None:
                    path.popitem()
                    done.add(name)
                    yield name
                elif inner in path:
                    raise GbnfError(f"rule `{_shown(inner)}` begins with itself")
                elif inner not in done:
                    path[inner] = self._beginnings(inner)

    def _beginnings(self, name: str) -> Iterator[str]:
        """Give the rules that may stand at the beginning of a rule."""
        for alternative in self._rules[name]:
            for symbol in alternative:
                if symbol.rule and symbol.most != 0:
                    yield symbol.rule
                if not self._skips(symbol):
                    break

    def _ways_into(self, alternative: Alternative) -> int:
        ways = 0
        for symbol in alternative:
            ways += self._ways_of(symbol)
            if not self._skips(symbol):
                return ways
        return ways + 1

    def _ways_of(self, symbol: Symbol) -> int:
        if symbol.rule not in self._empty:
            return self._ways.get(symbol.rule, 1)
        return self._ways[symbol.rule] * max(1, symbol.most or symbol.least)

    def _skips(self, symbol: Symbol) -> bool:
        return symbol.least == 0 or symbol.rule in self._empty

    def _within(self, name: str, ways: int) -> None:
        if ways > MAX_WAYS:
            what = (
                f"Rule `{_shown(name)}` can go on in more than {MAX_WAYS} ways, or through as many rules, at one place."
            )
            raise _Refusal(what, kind="schema_too_complex")

    def _require_ends(self) -> None:
        ending = self._leading(text=True)
        seen, waiting = {"root"}, ["root"]
        while waiting:
            name = waiting.pop()
            if name not in ending:
                raise _Refusal(f"No text ever completes rule `{_shown(name)}`.", kind="schema_unsatisfiable")
            inner = {symbol.rule for symbol in self._symbols(name) if symbol.rule and symbol.most != 0} - seen
            seen |= inner
            waiting += inner


def _shown(name: str) -> str:
    """Give the rule that a group stands in."""
    return name.partition("_")[0]
