"""What the machine takes a grammar to admit is what llama.cpp admits."""

from collections.abc import Iterator

import pytest

from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.domain.sampling import Drawing
from tests.inference_svc.engines import bundled_model
from tests.inference_svc.gbnf import state_behind
from threadmesh.errors import InvalidArgument

pytestmark = pytest.mark.model

ALPHABET = 'ab"\\[]-^.xyz09 !é'
GRAMMARS = [
    ('root ::= "ab" | "ay" [x-z]', "ayz"),
    ('root ::= "ab"{2} "!"', "abab!"),
    ('root ::= "ab"? "!"', "ab!"),
    ('root ::= ("a" | "b" "x"){1,2} "!"', "bxa!"),
    ('root ::= "a"{2}{0,2} "!"', "aaaa!"),
    ('root ::= "a"{2,} "!"', "aaa!"),
    ('root ::= "a"+ ("b" | "a" "!")', "aaa!"),
    ("root ::= [^a-b] .", "xé"),
    (r"root ::= [^\x00-\x60] [\[\]\-\\] [-^] [a-]", "x]^-"),
    ('root ::= [z-a] | "b" [a-zx]', "by"),
    ('root ::= [] "a" [^] "b" | "x"', "ab"),
    (r'root ::= "\x61\u00e9\U00000062"', "aéb"),
    ('root ::= (\n  "a" # one\n  | "b"\n)  x\nx ::=\n "x" |\n "y"', "by"),
    ('root ::= "[" (root ("-" root)*)? "]" | "a"', "[a-[a]]"),
    ('root ::= "x" a "!"\na ::= "a" a | ""', "xaa!"),
    ('root ::= "a"\nroot ::= "b" "a"', "ba"),
]


@pytest.fixture(scope="module")
def model() -> Iterator[LoadedModel]:
    loaded = LoadedModel(bundled_model(), vocabulary_only=True)
    yield loaded
    loaded.close()


def llama_admits(model: LoadedModel, gbnf: str, text: str) -> bool:
    sampler = TokenSampler(model, Drawing(), grammar=gbnf)
    try:
        for char in text:
            (token,) = model.tokenize(char, special=False)
            sampler.accept(token)
    except InvalidArgument:
        return False
    finally:
        sampler.close()
    return True


@pytest.mark.parametrize(("gbnf", "text"), GRAMMARS, ids=[gbnf for gbnf, _ in GRAMMARS])
def test_both_admit_the_same_characters(model: LoadedModel, gbnf: str, text: str) -> None:
    for size in range(len(text) + 1):
        for char in ALPHABET:
            said = text[:size] + char
            assert (state_behind(gbnf, said) is not None) == llama_admits(model, gbnf, said), said
    assert llama_admits(model, gbnf, text)
