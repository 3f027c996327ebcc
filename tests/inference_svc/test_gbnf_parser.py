"""GBNF is read as llama.cpp reads it."""

import pytest

from inference_svc.domain.gbnf import Characters, Group, Name, Repeat
from inference_svc.domain.gbnf_parser import parse_gbnf


def one(char: str) -> Characters:
    return Characters(((ord(char), ord(char)),))


READ = [
    ('"ab"', ((one("a"), one("b")),)),
    ('"a" | "b" |\n "c"', ((one("a"),), (one("b"),), (one("c"),))),
    ('"a"  # and "b"', ((one("a"),),)),
    ('""', ((),)),
    ("[]", ((),)),
    ("[^]", ((),)),
    (r'"\n\r\t\\\"\[\]\-"', (tuple(one(char) for char in '\n\r\t\\"[]-'),)),
    (r'"\x41\u00e9\U0001F600"', ((one("A"), one("é"), one("😀")),)),
    ('"é😀"', ((one("é"), one("😀")),)),
    ("[a-cx]", ((Characters(((97, 99), (120, 120))),),)),
    ("[a-]", ((Characters(((45, 45), (97, 97))),),)),
    ("[-a]", ((Characters(((45, 45), (97, 97))),),)),
    (r"[a\-c]", ((Characters(((45, 45), (97, 97), (99, 99))),),)),
    (r"[\]-^]", ((Characters(((93, 94),)),),)),
    ("[z-a]", ((Characters(()),),)),
    (r"[^\n]", ((Characters(((0, 9), (11, 0x10FFFF))),),)),
    (r"[^a-cb-e\x00]", ((Characters(((1, 96), (102, 0x10FFFF))),),)),
    (".", ((Characters(((0, 0x10FFFF),)),),)),
    ('"ab"?', ((Repeat(((one("a"), one("b")),), 0, 1),),)),
    ('"a" [b]*', ((one("a"), Repeat(((one("b"),),), 0, None)),)),
    ('("a" | "b")+', ((Repeat(((one("a"),), (one("b"),)), 1, None),),)),
    ('"a"{3}', ((Repeat(((one("a"),),), 3, 3),),)),
    ('"a"{3,}', ((Repeat(((one("a"),),), 3, None),),)),
    ('"a"{ 1 , 2 }', ((Repeat(((one("a"),),), 1, 2),),)),
    ('"a"{0,3000}', ((Repeat(((one("a"),),), 0, None),),)),
    ('"a"{2}?', ((Repeat(((Repeat(((one("a"),),), 2, 2),),), 0, 1),),)),
    ('(\n "a"\n | "b"\n)\n', ((Group(((one("a"),), (one("b"),))),),)),
    ("root root", ((Name("root"), Name("root")),)),
]


@pytest.mark.parametrize(("body", "tree"), READ, ids=[body for body, _ in READ])
def test_a_rule_is_read(body: str, tree: object) -> None:
    assert parse_gbnf(f"root ::= {body}") == {"root": tree}


def test_a_rule_ends_with_its_line_and_may_begin_on_the_next_one() -> None:
    rules = parse_gbnf('\n# two rules\nroot ::=\n a-1 # one\n\na-1 ::= "x"\r\n')

    assert rules == {"root": ((Name("a-1"),),), "a-1": ((one("x"),),)}


def test_the_last_of_two_rules_with_one_name_counts() -> None:
    assert parse_gbnf('root ::= "a"\nroot ::= "b"') == {"root": ((one("b"),),)}


UNREADABLE = [
    "",
    "a",
    'start ::= "a"',
    "root ::= missing",
    'root ::= "a',
    'root ::= "a" )',
    'root ::= ("a"',
    "root ::= [a",
    'root ::= "\\q"',
    'root ::= "\\x4"',
    "root ::= *",
    'root ::= ""*',
    'root ::= "a"{2,1}',
    'root ::= "a"{,1}',
    'root ::= "a"{2001}',
    'root ::= "a"{' + "9" * 5_000 + "}",
    "root ::= <think>",
    "root ::= !<[5]>",
    'root ::= "a"\n* "b"',
    'root := "a"',
    "root ::= " + "(" * 65 + '"a"' + ")" * 65,
    'root ::= "' + "a" * 70_000 + '"',
]


@pytest.mark.parametrize("gbnf", UNREADABLE, ids=[gbnf[:30] for gbnf in UNREADABLE])
def test_what_cannot_be_read_is_none(gbnf: str) -> None:
    assert parse_gbnf(gbnf) is None


def test_sixty_four_parentheses_are_read() -> None:
    assert parse_gbnf("root ::= " + "(" * 64 + '"a"' + ")" * 64) is not None
