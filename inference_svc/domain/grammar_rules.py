"""The rules of a GBNF grammar for JSON, collected one by one."""

from dataclasses import dataclass

from inference_svc.domain import number_grammar
from inference_svc.domain.pattern_grammar import characters
from inference_svc.domain.schema_budget import MAX_REPETITION

CHARACTER = characters(((0x00, 0x10FFFF),))
"""One character of a JSON string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedom:
    """How far an answer may go where its schema sets no bound; None is without end.

    `depth` bounds the nesting of values of which the schema says nothing.
    """

    characters: int | None = None
    items: int | None = None
    depth: int = 8


class GrammarRules:
    """The rules of one grammar, and those that every JSON grammar needs."""

    def __init__(self, *, freedom: Freedom | None = None) -> None:
        self._freedom = freedom or Freedom()
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def rule(self, body: str, *, hint: str = "rule") -> str:
        """Give the name of a rule with this body; equal bodies share one."""
        if body not in self._names:
            self._names[body] = self.reserve(hint)
            self._rules[self._names[body]] = body
        return self._names[body]

    def reserve(self, hint: str) -> str:
        """Give a new name, to be defined later."""
        name = f"{hint}-{len(self._rules)}"
        self._rules[name] = ""
        return name

    def define(self, name: str, body: str) -> None:
        """Set the body of a rule."""
        self._rules[name] = body

    def anything(self, *, depth: int | None = None) -> str:
        """Give the name of a rule for any JSON value."""
        depth = self._freedom.depth if depth is None else depth
        scalars = f"{self.string()} | {number_grammar.number(None, None, open_low=False, open_high=False)}"
        scalars += ' | "true" | "false" | "null"'
        if depth <= 0:
            return self.rule(scalars, hint="scalar")
        return self.rule(f"{self.object(depth=depth)} | {self._free_array(depth)} | {scalars}", hint="value")

    def object(self, *, depth: int | None = None) -> str:
        """Give the name of a rule for any JSON object."""
        depth = self._freedom.depth if depth is None else depth
        return self.mapping(self.anything(depth=depth - 1))

    def mapping(self, value: str) -> str:
        """Give the name of a rule for objects whose values all follow one rule."""
        member = self.rule(f'{self.string()} ": " {value}', hint="member")
        return self.rule(f'"{{" ({self.listed(member, 0, self._freedom.items)})? "}}"', hint="map")

    def _free_array(self, depth: int) -> str:
        item = self.anything(depth=depth - 1)
        return self.rule(f'"[" ({self.listed(item, 0, self._freedom.items)})? "]"', hint="list")

    def listed(self, item: str, least: int, most: int | None) -> str:
        """Give an expression for at least one item, separated by commas; `least` and `most` count items."""
        more = "" if most is None else max(0, most - 1)
        return f'{item} (", " {item}){{{max(0, least - 1)},{more}}}'

    def string(self, least: int = 0, most: int | None = None) -> str:
        """Give the name of a rule for a string of `least` to `most` characters."""
        most = self._freedom.characters if most is None else min(most, MAX_REPETITION)
        most = None if most is None else max(least, most)
        char = self.rule(CHARACTER, hint="char")
        return self.rule(f'"\\"" {char}{{{least},{"" if most is None else most}}} "\\""', hint="string")

    def text(self, root: str) -> str:
        """Give the grammar whose root is this expression."""
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]
        return "\n".join(lines) + "\n"

    @property
    def freedom(self) -> Freedom:
        """How far answers may go where schemas set no bound."""
        return self._freedom
