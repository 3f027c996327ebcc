"""Speaks grammars: gives random sentences of a GBNF, so that what it admits can be checked. Follows them, too."""

from random import Random

from inference_svc.domain.gbnf import Alternatives, Characters, Group, Item, Name, Repeat
from inference_svc.domain.gbnf_machine import State, Work, machine_of
from inference_svc.domain.gbnf_parser import parse_gbnf

MORE = 3
DEEP = 40


class Speaker:
    """Draws sentences of one grammar; the deeper it is, the sooner it takes the shortest way out."""

    def __init__(self, gbnf: str, random: Random) -> None:
        rules = parse_gbnf(gbnf)
        assert rules is not None, f"this is no GBNF: {gbnf}"
        self.gbnf, self.rules, self.random = gbnf, rules, random

    def sentence(self) -> str:
        return self.either(self.rules["root"], 0)

    def either(self, alternatives: Alternatives, depth: int) -> str:
        chosen = alternatives[-1] if depth > DEEP else self.random.choice(alternatives)
        return "".join(self.one(item, depth + 1) for item in chosen)

    def one(self, item: Item, depth: int) -> str:
        match item:
            case Characters(ranges=ranges):
                return chr(self.random.randint(*self.random.choice(ranges)))
            case Name(name=name):
                return self.either(self.rules[name], depth)
            case Group(alternatives=alternatives):
                return self.either(alternatives, depth)
            case Repeat(alternatives=alternatives, least=least, most=most):
                upper = least + MORE if most is None else min(most, least + MORE)
                count = least if depth > DEEP else self.random.randint(least, upper)
                return "".join(self.either(alternatives, depth) for _ in range(count))


def state_behind(gbnf: str, text: str) -> State | None:
    machine, work = machine_of(gbnf), Work(allowed=1_000_000)
    assert machine is not None
    state = machine.first
    for char in text:
        state = machine.after(state, char, work) if state is not None else None
    return state
