"""A grammar that lets the model think first admits just that."""

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.domain.sampling import Drawing
from inference_svc.domain.thinking_grammar import after_thinking
from tests.inference_svc.engines import bundled_model
from threadmesh.errors import InvalidArgument

ANSWER = 'root ::= "{" part "}"\npart ::= "root" | [root] | "\\"root\\"" root? # root\n'


@cache
def vocabulary() -> LoadedModel:
    return LoadedModel(bundled_model(), vocabulary_only=True)


def admits(model: LoadedModel, gbnf: str, text: str) -> bool:
    """Whether a text may be said; it need not be complete."""
    sampler = TokenSampler(model, Drawing(), grammar=gbnf)
    try:
        for token in model.tokenize(text, special=False):
            sampler.accept(token)
    except InvalidArgument:
        return False
    finally:
        sampler.close()
    return True


@pytest.mark.model
@given(end=st.sampled_from(["</think>", "[/THINK]"]), text=st.text(alphabet="a</>[]thinkTHINK{ ", max_size=40))
def test_anything_is_admitted_before_the_marker_and_only_the_answer_behind_it(end: str, text: str) -> None:
    gbnf = after_thinking('root ::= "{a}"', end=end)
    for said in (text, f"{text}{end}", f"{text}{end}{text}", f"{text}{end}{{a"):
        answer = said.partition(end)[2]

        assert admits(vocabulary(), gbnf, said) is bool(re.fullmatch(r" {0,4}(|\{|\{a|\{a\})", answer))


@pytest.mark.model
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Okay.\n</think>\n\n{", True),
        ("</think>{", True),
        ("a < b </ </th </thi<</think>{root}", True),
        ('any </think> {"root"', True),
        ("{root}", True),
        ("</think>no", False),
        ("x</think></think>", False),
    ],
)
def test_llama_cpp_follows_it(said: str, expected: bool) -> None:
    assert admits(vocabulary(), after_thinking(ANSWER, end="</think>"), said) is expected


@pytest.mark.model
def test_only_rules_are_renamed() -> None:
    gbnf = after_thinking(ANSWER, end="</think>")

    for said, expected in (("{root}", True), ("{t}", True), ('{"root"{root}}', True), ("{thinking-answer}", False)):
        assert admits(vocabulary(), gbnf, f"</think>{said}") is expected
