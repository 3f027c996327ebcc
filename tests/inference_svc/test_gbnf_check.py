"""Grammars that llama.cpp would hang at, die of or never come to the end of are told by their rules."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_svc.domain.gbnf_check import check_rules
from inference_svc.domain.gbnf_rules import Symbol, read_rules
from inference_svc.domain.schema_grammar import SchemaGrammar
from tests.inference_svc.test_schema_grammar import SCHEMAS
from threadmesh.errors import UnsupportedSchema


def chain(levels: int, body: str) -> str:
    rules = [f"r{level} ::= {body.format(level + 1)}" for level in range(levels)]
    return "\n".join(["root ::= r0", *rules, f'r{levels} ::= "a"'])


KILLERS: list[tuple[str, str, str, str]] = [
    ("larger number first", 'root ::= "a"{3,1}', "schema_unsupported", "line 1"),
    (
        "hidden left recursion",
        'root ::= r root "a" | "b"\nr ::= e\ne ::= ""',
        "schema_unsupported",
        "begins with itself",
    ),
    ("token", 'root ::= "a" !<[5]>', "schema_unsupported", "names a token"),
    ("ways to walk", chain(40, 'r{0} | r{0} "x"'), "schema_too_complex", "more than 4000 ways"),
    ("ways to go on", chain(30, "r{0}? r{0}?"), "schema_too_complex", "more than 4000 ways"),
    ("optional repetition", "root ::= " + '("a"?){0,1000} ' * 19, "schema_too_complex", "more than 4000 ways"),
    ("rules on one way", chain(18_000, "r{0}"), "schema_too_complex", "through as many rules"),
]
"""Each of these hangs llama.cpp, takes its memory or ends its process."""

WRONG: list[tuple[str, str, str, str]] = [
    ("no root", 'answer ::= "a"', "schema_unsupported", "a rule `root`"),
    ("undefined", "root ::= (missing)", "schema_unsupported", "`missing`, which `root` names"),
    ("left recursion", 'root ::= root "a" | "b"', "schema_unsupported", "`root` begins with itself"),
    ("mutual", 'root ::= x\nx ::= y "a" | "c"\ny ::= x "b"', "schema_unsupported", "begins with itself"),
    ("no end", 'root ::= "a" root', "schema_unsatisfiable", "`root`"),
    ("nothing", 'root ::= "a" x\nx ::= "b" x | "c" y\ny ::= "d" x', "schema_unsatisfiable", "`root`"),
    ("dead end", 'root ::= "b" | "a" x\nx ::= ("c" x)', "schema_unsatisfiable", "completes rule"),
    ("not closed", 'root ::= ("a"', "schema_unsupported", "ends too early"),
    ("not opened", 'root ::= "a")', "schema_unsupported", "not opened"),
    ("nothing to repeat", 'root ::= | * "a"', "schema_unsupported", "nothing to repeat"),
    ("unfinished text", 'root ::= "a', "schema_unsupported", "line 1"),
    ("unknown escape", 'root ::= "\\q"', "schema_unsupported", "line 1"),
    ("two on a line", 'root ::= "a" b ::= "c"', "schema_unsupported", "ends with its line"),
    ("no body", "root", "schema_unsupported", "ends too early"),
]


@pytest.mark.parametrize(
    ("gbnf", "kind", "message"), [each[1:] for each in KILLERS + WRONG], ids=[each[0] for each in KILLERS + WRONG]
)
def test_a_grammar_that_cannot_be_followed_is_refused_with_its_reason(gbnf: str, kind: str, message: str) -> None:
    with pytest.raises(UnsupportedSchema, match=message) as caught:
        check_rules(gbnf, field="grammar")

    assert caught.value.facts == {"field": "grammar", "kind": kind}


@pytest.mark.parametrize(
    "gbnf",
    [
        'root ::= "yes" | "no"',
        'root ::= ""',
        'root ::= ("a"*)*',
        'root ::= [] [^] . [^\\]\\x00] [a-] "\\U0001F600"',
        'root ::= (\n "a" # why\n | "b"\n)\n\n# the rest\nother ::=\n  root{2,} | root{0,3}\n',
        'root ::= "(" root ")" | "x"',
        'list ::= "a" list?\nroot ::= list',
        'root ::= "a"\nunused ::= "b" unused',
        "root ::= " + "(" * 199 + '"a"' + ")" * 199,
    ],
)
def test_a_grammar_that_can_be_followed_passes(gbnf: str) -> None:
    check_rules(gbnf, field="grammar")


@pytest.mark.parametrize("schema", SCHEMAS, ids=[json.dumps(schema)[:60] for schema in SCHEMAS])
def test_the_grammar_of_every_schema_passes(schema: object) -> None:
    grammar = SchemaGrammar()

    check_rules(grammar.text(grammar.schema(json.dumps(schema), field="s")), field="s")


def test_what_is_repeated_counts_as_one() -> None:
    rules = read_rules('root ::= "abc"{2,5} (x "d")* [0-9]+?\nx ::= "e"')

    [root] = rules["root"]
    assert [(symbol.least, symbol.most) for symbol in root] == [(2, 5), (0, None), (0, 1)]
    assert rules[root[1].rule] == [(Symbol(rule="x"), Symbol())]
    assert rules[root[2].rule] == [(Symbol(least=1, most=None),)]


@settings(max_examples=300)
@given(gbnf=st.text(alphabet='abroot ::=|()[]{}"\\*+?,0123^-<>!#\n', max_size=80))
def test_any_text_is_read_or_refused(gbnf: str) -> None:
    assert verdict(f"root ::= {gbnf}") in (None, "schema_unsupported", "schema_too_complex", "schema_unsatisfiable")


def verdict(gbnf: str) -> str | None:
    """Give the kind of what is wrong with a grammar, None if nothing is."""
    try:
        check_rules(gbnf, field="grammar")
    except UnsupportedSchema as error:
        return str(error.facts["kind"])
    return None
