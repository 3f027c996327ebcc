"""Whatever schema, grammar or template comes, the unit answers it or refuses it, and lives on.

Here are a few that are always the same; `make fuzz` tries many others for some minutes.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.model import ModelFileError
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.domain.prompt import Conversation
from tests.inference_svc.unit_process import UnitProcess, unit_process
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.conversation import Role, message
from threadmesh.errors import InvalidArgument, Overloaded

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
few = settings(
    max_examples=EXAMPLES or 15,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnitProcess]:
    options = {"context_tokens": 1024, "threads": 1, "weights": "file", "speculation": "auto"}
    with unit_process(state_dir=tmp_path_factory.mktemp("state"), **options) as unit:
        unit.wait_until_ready()
        yield unit


def survives(unit: UnitProcess, **asked: Any) -> None:
    """Ask, and check that an answer or a fair refusal comes."""
    error = unit.refusal("Go on.", max_tokens=12, sampling=pb.Sampling(temperature=2.0, seed=1), **asked)

    assert unit.alive
    assert error is None or isinstance(error, InvalidArgument | Overloaded), error


NUMBERS = st.one_of(st.integers(-3, 6), st.sampled_from([999, 1_000, 1_001, 2_000, 20_000, 10**18, -(10**300)]))
PATTERNS = st.one_of(
    st.text(alphabet="ab^$()[]{}|*+?.\\d-,129", max_size=20),
    st.sampled_from(["^(a|b)+$", "^(a{0,99}){0,99}$", "(a*)*"]),
)


def schemas() -> st.SearchStrategy[Any]:
    """Schemas that are right, wrong, huge, recursive and contradictory."""
    leaves = st.one_of(
        st.booleans(),
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null", "x"]),
                "minLength": NUMBERS,
                "maxLength": NUMBERS,
                "minItems": NUMBERS,
                "maxItems": NUMBERS,
                "minimum": NUMBERS,
                "exclusiveMaximum": NUMBERS,
                "pattern": PATTERNS,
                "format": st.sampled_from(["date", "uuid", "email"]),
                "enum": st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers()), max_size=3),
                "$ref": st.sampled_from(["#", "#/properties/a", "#/$defs/a", "#/$defs/b", "http://x/y"]),
            },
        ),
    )
    return st.recursive(
        leaves,
        lambda inner: st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(st.sampled_from("ab\n<"), inner, max_size=3),
                "required": st.lists(st.sampled_from("abc"), max_size=3),
                "additionalProperties": inner,
                "items": inner,
                "prefixItems": st.lists(inner, max_size=3),
                "anyOf": st.lists(inner, max_size=3),
                "allOf": st.lists(inner, max_size=3),
                "$defs": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
                "minItems": NUMBERS,
                "maxItems": NUMBERS,
            },
        ),
        max_leaves=8,
    )


def grammars() -> st.SearchStrategy[str]:
    """Grammars of five rules that refer to each other at will, and texts that are nearly grammars."""
    names = ["root", "a", "b", "c", "d"]
    tame = st.sampled_from([*names[1:], "root", '"x"', '" "', '"\\n"', "[a-z]", "[^x]", ".", '"<|im_end|>"', '"[["'])
    times = st.sampled_from(["", "", "", "?", "*", "+", "{2}", "{0,3}", "{1,}"])
    wild = st.one_of(st.sampled_from(['""', "[]", "<[5]>", "e", "[a"]), st.text(alphabet='"[]()\\|é😀', max_size=3))
    wild_times = st.sampled_from(["", "??", "{3,1}", "{0,999}", "{1001}", "*+"])
    return st.one_of(_rules(names, tame, times), _rules(names, tame, times), _rules(names, tame | wild, wild_times))


def _rules(names: list[str], atoms: st.SearchStrategy[str], times: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    bodies = st.recursive(
        st.builds(str.__add__, atoms, times),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(" ".join),
            st.lists(inner, min_size=1, max_size=3).map(" | ".join),
            st.builds("({}){}".format, inner, times),
        ),
        max_leaves=8,
    )
    ending = st.builds('("x" {}) | "y" | {}'.format, bodies, bodies)
    return st.lists(st.one_of(bodies, ending, ending), min_size=5, max_size=5).map(
        lambda found: "\n".join(f"{name} ::= {body}" for name, body in zip(names, found, strict=True))
    )


@pytest.mark.model
@few
@given(schema=schemas())
def test_any_schema_is_followed_or_refused(unit: UnitProcess, schema: Any) -> None:
    form = pb.ResponseFormat(json_schema=pb.JsonSchema(schema_json=json.dumps(schema)))

    survives(unit, response_format=form)


@pytest.mark.model
@few
@given(schema=schemas())
def test_a_tool_of_any_schema_is_called_or_refused(unit: UnitProcess, schema: Any) -> None:
    tools = [conversation.ToolDefinition(name=name, parameters_json=json.dumps(schema)) for name in ("one", "two")]
    required = conversation.ToolChoice(mode=conversation.TOOL_CHOICE_MODE_REQUIRED)

    survives(unit, tools=tools, tool_choice=required)


@pytest.mark.model
@few
@given(gbnf=grammars())
def test_any_grammar_is_followed_or_refused(unit: UnitProcess, gbnf: str) -> None:
    survives(unit, response_format=pb.ResponseFormat(grammar=gbnf))


TEMPLATE_PIECES = (
    "{% for m in messages %}",
    "{% for a in range(99999) %}",
    "{% endfor %}",
    "{% set n = namespace(x='ab') %}",
    "{% set n.x = n.x ~ n.x %}",
    "{% set n.x = n.x * 9 %}",
    "{{ n.x | join(n.x) }}",
    "{{ n.x.replace('a', n.x) }}",
    "{{ messages | tojson(indent=4) }}",
    "{{ m.content[::-1] }}",
    "{{ messages[0].content | upper }}",
    "{% if messages %}",
    "{% endif %}",
    "{% macro f(x) %}",
    "{{ f(f) }}",
    "{% endmacro %}",
    "{{ loop.length }}{{ loop.last }}",
    "{% break %}",
)


@few
@given(pieces=st.lists(st.sampled_from(TEMPLATE_PIECES), max_size=12))
def test_any_template_renders_or_refuses(pieces: list[str]) -> None:
    with suppress(InvalidArgument, ModelFileError):
        ChatTemplate("".join(pieces)).render(Conversation(messages=(message(Role.USER, "Hello"),)), ask=True)
