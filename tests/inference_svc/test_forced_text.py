"""What a grammar forces is found, and nothing else is taken for forced."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from zlib import crc32

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inference_svc.domain.forced_text import ForcedText, certain, forced_by
from inference_svc.domain.gbnf_machine import Machine, machine_of
from inference_svc.domain.gbnf_parser import parse_gbnf
from tests.inference_svc.gbnf import state_behind
from tests.inference_svc.schemas import schemas, speaker


def behind(gbnf: str, *said: str) -> ForcedText:
    """Give what is forced in a grammar that nobody has explored."""
    rules = parse_gbnf(gbnf)
    assert rules is not None
    forced = ForcedText(Machine(rules))
    for text in said:
        forced.read(text)
    return forced


FORCED = [
    ('root ::= "{" "a"', "", "{a"),
    ('root ::= "abc" | "abd"', "", "ab"),
    ('root ::= "abc" | "abd"', "abd", ""),
    ('root ::= "a" "b"?', "a", ""),
    ('root ::= "a" x "c"\nx ::= "b" | "b" "b"', "a", "b"),
    ('root ::= "a" x "c"\nx ::= "b" | "b" "b"', "abb", "c"),
    ('root ::= [a-b] "!"', "", ""),
    ('root ::= [a-b] "!"', "b", "!"),
    ('root ::= [aa] "!"', "", "a!"),
    ('root ::= "x"{3} "y"', "x", "xxy"),
    ('root ::= "x"{2,3} "y"', "xx", ""),
    ('root ::= "x"{2,3} "y"', "xxx", "y"),
    ('root ::= ("x"{2}){2} "y"', "xx", "xxy"),
    ('root ::= ("x" | "x")* "y"', "xxx", ""),
    ('root ::= "é😀"', "", "é😀"),
    ('root ::= "a" [z-a] | "a" "b"', "a", "b"),
    (r'root ::= "\uD800"', "", ""),
    (r'root ::= "\UFFFFFFFF"', "", ""),
    ('root ::= "(" root ")" | "x"', "((x", "))"),
]


@pytest.mark.parametrize(("gbnf", "said", "forced"), FORCED, ids=[f"{gbnf} {said}" for gbnf, said, _ in FORCED])
def test_what_must_come_next_is_known(gbnf: str, said: str, forced: str) -> None:
    assert behind(gbnf, said).forced(99) == forced


def test_no_more_is_given_than_was_asked_for_and_asking_changes_nothing() -> None:
    forced = behind('root ::= "a" root')

    assert forced.forced(3) == "aaa"
    assert forced.forced(0) == ""
    forced.read("aa")
    assert forced.forced(2) == "aa"


@pytest.mark.parametrize("said", ["x", "abc", "abd!", "ab\nc"])
def test_nothing_is_forced_behind_a_text_that_does_not_follow_the_grammar(said: str) -> None:
    forced = behind('root ::= "ab" ("d" | "e") "fg"', said)
    assert forced.forced(9) == ""

    forced.read("fg")
    assert forced.forced(9) == ""


@pytest.mark.parametrize("gbnf", ["", "nonsense", "root ::= <think>"])
def test_nothing_is_known_without_a_grammar_that_can_be_read(gbnf: str) -> None:
    assert forced_by(gbnf) is None


@dataclass(frozen=True)
class Small:
    """A grammar so small that all its sentences can be written down: its rules, its root, its sentences."""

    rules: tuple[str, ...]
    body: str
    sentences: frozenset[str]

    @property
    def gbnf(self) -> str:
        return "\n".join([f"root ::= {self.body}", *self.rules])


LITERALS = st.text("ab", max_size=3).map(lambda text: Small((), f'"{text}"', frozenset([text])))
CLASSES = st.sampled_from(["[ab]", "[a-b]", "[b]"]).map(lambda body: Small((), body, frozenset(body[1:-1]) - {"-"}))


def of(parts: Sequence[Small], body: str, sentences: frozenset[str]) -> Small:
    return Small(tuple(dict.fromkeys(rule for part in parts for rule in part.rules)), body, sentences)


def sequence(parts: list[Small]) -> Small:
    said = frozenset("".join(each) for each in product(*(part.sentences for part in parts)))
    return of(parts, "(" + " ".join(part.body for part in parts) + ")", said)


def either(parts: list[Small]) -> Small:
    said = frozenset().union(*(part.sentences for part in parts))
    return of(parts, "(" + " | ".join(part.body for part in parts) + ")", said)


def repeated(part: Small, least: int, more: int) -> Small:
    counts = range(least, least + more + 1)
    said = {"".join(each) for count in counts for each in product(part.sentences, repeat=count)}
    return of([part], f"({part.body}){{{least},{least + more}}}", frozenset(said))


def named(part: Small) -> Small:
    name = f"rule-{crc32(part.body.encode())}"
    return Small((*part.rules, f"{name} ::= {part.body}"), name, part.sentences)


def larger(inner: st.SearchStrategy[Small]) -> st.SearchStrategy[Small]:
    few = inner.filter(lambda part: len(part.sentences) <= 6)
    return st.one_of(
        st.lists(few, min_size=1, max_size=3).map(sequence),
        st.lists(inner, min_size=1, max_size=3).map(either),
        st.builds(repeated, few, st.integers(0, 2), st.integers(0, 1)),
        inner.map(named),
    )


@settings(max_examples=300, deadline=None)
@given(small=st.recursive(LITERALS | CLASSES, larger, max_leaves=8))
def test_exactly_what_all_sentences_share_is_forced(small: Small) -> None:
    assume(len(small.sentences) <= 300)
    for said in {sentence[:size] for sentence in small.sentences for size in range(len(sentence) + 1)}:
        rests = {sentence[len(said) :] for sentence in small.sentences if sentence.startswith(said)}
        shared = next(size for size in range(99) if "" in {rest[size:] for rest in rests} or clash(rests, size))

        assert behind(small.gbnf, said).forced(99) == min(rests)[:shared]


def clash(rests: set[str], size: int) -> bool:
    return len({rest[size] for rest in rests}) > 1


@settings(max_examples=150, deadline=None)
@given(schema=schemas(), seed=st.integers(0, 2**32))
def test_all_sentences_of_a_schema_go_on_with_what_is_forced(schema: Any, seed: int) -> None:
    speaks = speaker(schema, seed)
    sentences = [speaks.sentence() for _ in range(5)]
    for sentence in sentences:
        forced = behind(speaks.gbnf)
        for at, char in enumerate(sentence):
            said = forced.forced(99)
            assert all(each.startswith(said, at) for each in sentences if each[:at] == sentence[:at])
            forced.read(char)


@settings(max_examples=150, deadline=None)
@given(schema=schemas(), seed=st.integers(0, 2**32))
def test_a_machine_follows_every_sentence_of_a_schema_to_its_end(schema: Any, seed: int) -> None:
    speaks = speaker(schema, seed)
    state = state_behind(speaks.gbnf, speaks.sentence())

    assert state is not None
    assert state.complete


@settings(deadline=None)
@given(schema=schemas(), seed=st.integers(0, 2**32), data=st.data())
def test_it_does_not_matter_in_which_pieces_a_text_is_read(schema: Any, seed: int, data: st.DataObject) -> None:
    speaks = speaker(schema, seed)
    sentence = speaks.sentence()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sentence)), max_size=4)))
    for end in range(len(sentence)):
        pieces = [sentence[low : min(high, end)] for low, high in zip([0, *cuts], [*cuts, end], strict=True)]

        assert behind(speaks.gbnf, *pieces).forced(99) == behind(speaks.gbnf, *sentence[:end]).forced(99)


def levels(count: int, body: str) -> str:
    return "\n".join(f"r{level} ::= {body.format(level + 1)}" for level in range(count)) + f'\nr{count} ::= "a"'


HARD = {
    "nested repetitions": 'root ::= ((("a"{0,1000}){0,1000}){0,1000}){0,1000} "b"',
    "a repetition of what may be nothing": 'root ::= ("a"?){0,1000} "b"',
    "ambiguous repetition": 'root ::= ("a" | "a")* "b"',
    "ambiguous lengths": 'root ::= ("a" | "a" "a"){0,1000} "b"',
    "nothing for ever": 'root ::= (("" | "a"*)*)* "b"',
    "deep recursion": 'root ::= "a" root "b" | "a" root "c" | "d"',
    "left recursion": 'root ::= root "a" | "a"',
    "hidden left recursion": 'root ::= x root "a" | "a"\nx ::= ""',
    "itself": "root ::= root",
    "many ways to one end": "root ::= r0 root\n" + levels(40, 'r{0} | r{0} "x"'),
    "much that may be nothing": "root ::= r0 root\n" + levels(30, "r{0}? r{0}?"),
    "a thousand alternatives": "root ::= x*\nx ::= " + " | ".join(f'[a] "{number}"?' for number in range(2_000)),
}


@pytest.mark.parametrize("gbnf", HARD.values(), ids=HARD)
def test_no_grammar_is_more_work_than_is_allowed(gbnf: str) -> None:
    forced = behind(gbnf)
    for size in range(1, 400):
        forced.read("a")
        forced.forced(50)
        assert forced.work <= 8_192 + 64 * size + 2 * 1_024 + 2_000


def test_counted_repetitions_are_not_written_out() -> None:
    forced = behind('root ::= (("x"{1000} "-"){1000} "."){1000}', "x" * 1_000, "-", "x" * 999)

    assert forced.forced(3) == "x-x"
    assert forced.work < 4 * 2_004


def test_a_repetition_without_end_is_always_at_the_same_places() -> None:
    machine = machine_of('root ::= "{" [a-z]{3,} "}"')
    assert machine is not None
    ForcedText(machine).read("{" + "x" * 1_000)

    assert len(machine._places) < 20


def test_one_of_thousands_of_values_is_followed() -> None:
    values = " | ".join(f'"\\"{number:04}\\""' for number in range(2_000))

    assert behind(f"root ::= {values}").forced(9) == '"'
    assert behind(f"root ::= {values}", '"142').forced(9) == ""
    assert behind(f"root ::= {values}", '"1427').forced(9) == '"'


def test_what_nests_deep_is_followed() -> None:
    assert behind('root ::= "(" root ")" | "x"', "(" * 20_000, "x").forced(30_000) == ")" * 20_000


def test_a_machine_forgets_rather_than_grow_and_goes_on() -> None:
    rules = parse_gbnf('root ::= ([a-z]{1000} "-"){12} "end"')
    assert rules is not None
    machine = Machine(rules)
    forced = ForcedText(machine)
    for _ in range(12):
        forced.read("x" * 1_000 + "-")

    assert forced.forced(9) == "end"
    assert len(machine._places) < 10_000


def test_a_second_answer_finds_what_the_first_one_explored() -> None:
    machine = machine_of('root ::= "{" [a-z]{0,200} "}"')
    assert machine is not None
    first, second = ForcedText(machine), ForcedText(machine)
    for forced in (first, second):
        forced.read("{" + "x" * 200)

    assert first.forced(9) == second.forced(9) == "}"
    assert second.work < first.work / 2


def test_the_last_token_of_forced_text_is_left_open() -> None:
    assert certain('{"name": "', lambda text: [ord(char) for char in text[::5]]) == [ord("{")]
    assert certain("{", lambda text: [ord(char) for char in text]) == []


def test_nothing_forced_is_nothing_to_tokenise() -> None:
    assert certain("", lambda text: pytest.fail("there is nothing to tokenise")) == []
