"""Every kind of schema that is not accepted: its code for programs, its place, and the limit for people.

The codes reach REST clients as `error.code`, the place as `error.param`.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from inference_svc.adapters.llama_cpp.grammar import grammar_of, without_bad_tools
from inference_svc.adapters.llama_cpp.tool_formats import HERMES
from inference_svc.domain.gbnf_check import check_rules
from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.prompt import Grammar, JsonSchema, Prompt
from tests.inference_svc.engines import prompt
from threadmesh.conversation import ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.errors import UnsupportedSchema

SCHEMA = "response_format.json_schema.schema_json"
REQUIRED = ToolChoice(mode=ToolChoiceMode.REQUIRED)


def gbnf_of(asked: Prompt) -> str:
    """Make the grammar of a request and check it, as before it is tried."""
    gbnf = grammar_of(asked, HERMES, single=False, freedom=Freedom())
    check_rules(gbnf, field="response_format")
    return gbnf


def refusal(schema: Any) -> UnsupportedSchema:
    written = schema if isinstance(schema, str) else json.dumps(schema)
    with pytest.raises(UnsupportedSchema) as caught:
        gbnf_of(prompt("Go.", response_format=JsonSchema(schema_json=written)))
    return caught.value


def nested(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


BUDGET: list[tuple[str, Any, str, str]] = [
    ("64 KiB", {"description": "x" * 65_536}, "", "65536 bytes"),
    ("depth 32", nested(32), "#" + "/items" * 32, "32 levels"),
    ("2 000 subschemas", {"anyOf": [{"type": "null"}] * 2_000}, "#/anyOf/0", "2000 subschemas"),
    ("5 000 properties", {"properties": {f"p{n}": {} for n in range(5_001)}}, "#/properties", "5000 properties"),
    ("1 000 enum values", {"enum": list(range(1_001))}, "#/enum", "1000 enum values"),
    ("minLength", {"type": "string", "minLength": 1_001}, "#/minLength", "1000 repetitions in `minLength`"),
    ("maxLength", {"type": "string", "maxLength": 20_000}, "#/maxLength", "1000 repetitions in `maxLength`"),
    ("minItems", {"type": "array", "minItems": 1_001}, "#/minItems", "1000 repetitions in `minItems`"),
    ("maxItems", {"type": "array", "maxItems": 100_000}, "#/maxItems", "1000 repetitions in `maxItems`"),
    ("256 characters of pattern", {"pattern": "a" * 257}, "#/pattern", "256 characters in `pattern`"),
    ("2 000 nested groups", {"pattern": "(" * 2_000 + ")" * 2_000}, "#/pattern", "256 characters in `pattern`"),
]


@pytest.mark.parametrize(
    ("schema", "pointer", "limit"), [each[1:] for each in BUDGET], ids=[each[0] for each in BUDGET]
)
def test_a_schema_over_the_budget_is_too_complex_and_the_limit_is_named(schema: Any, pointer: str, limit: str) -> None:
    error = refusal(schema)

    assert error.facts["kind"] == "schema_too_complex"
    assert error.field == SCHEMA + pointer
    assert limit in error.message


def ladder(levels: int, *, at: str = "#") -> Any:
    """Two ways at each step, none of them longer than the other: a billion ways at the top. It stands `at` a place."""
    steps: dict[str, Any] = {}
    for level in range(levels):
        lower = [{"$ref": f"{at}/$defs/{name}{level + 1}"} for name in "ab"]
        steps |= {f"a{level}": {"anyOf": lower}, f"b{level}": {"anyOf": lower[::-1]}}
    steps |= {f"a{levels}": {"type": "null"}, f"b{levels}": {"type": "boolean"}}
    return {"$defs": steps, "$ref": f"{at}/$defs/a0"}


def test_a_schema_whose_alternatives_multiply_is_too_complex() -> None:
    assert refusal(ladder(30)).facts["kind"] == "schema_too_complex"


def test_a_schema_whose_references_unfold_too_far_is_too_complex() -> None:
    doubled = {
        f"d{n}": {"properties": {key: {"$ref": f"#/$defs/d{n + 1}", "minProperties": 0} for key in "ab"}}
        for n in range(30)
    }
    tool = ToolDefinition(name="t", parameters_json=json.dumps({"$defs": {**doubled, "d30": {}}, "$ref": "#/$defs/d0"}))
    endless = {"properties": {"next": {"$ref": "#", "maxItems": 3}}}

    for schema in (tool.parameters_json, json.dumps(endless)):
        unfolding = ToolDefinition(name="t", parameters_json=schema)
        with pytest.raises(UnsupportedSchema, match="unfold") as caught:
            gbnf_of(prompt("Go.", tools=(unfolding,), tool_choice=REQUIRED))
        assert caught.value.facts["kind"] == "schema_too_complex"


def test_a_recursive_object_may_describe_itself_beside_its_reference() -> None:
    tree = {"properties": {"children": {"type": "array", "items": {"$ref": "#", "description": "a branch"}}}}

    assert gbnf_of(prompt("Go.", response_format=JsonSchema(schema_json=json.dumps(tree))))


REFUSED: list[tuple[str, Any, str, str]] = [
    ("http reference", {"$ref": "https://example.com/s.json"}, "#/$ref", "schema_ref_external"),
    ("file reference", {"items": {"$ref": "file:///etc/passwd"}}, "#/items/$ref", "schema_ref_external"),
    ("other document", {"$ref": "other.json#/a"}, "#/$ref", "schema_ref_external"),
    ("anchor", {"$ref": "#anchor"}, "#/$ref", "schema_ref_external"),
    ("cycle", {"$ref": "#"}, "#/$ref", "schema_ref_cycle"),
    (
        "ring",
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        "#/$ref",
        "schema_ref_cycle",
    ),
    ("not", {"type": "string", "not": {"const": "x"}}, "#/not", "schema_unsupported"),
    ("if", {"if": {"type": "string"}, "then": {"minLength": 1}}, "#/if", "schema_unsupported"),
    ("patternProperties", {"patternProperties": {"^x": {}}}, "#/patternProperties", "schema_unsupported"),
    ("contains", {"type": "array", "contains": {"const": 1}}, "#/contains", "schema_unsupported"),
    ("catastrophic", {"type": "string", "pattern": "^(a+)+$"}, "#/pattern", "schema_pattern_unsupported"),
    ("look-behind", {"type": "string", "pattern": "(?<=x)*"}, "#/pattern", "schema_pattern_unsupported"),
    ("back reference", {"type": "string", "pattern": "^(a)\\1$"}, "#/pattern", "schema_pattern_unsupported"),
    ("17 groups", {"type": "string", "pattern": "(" * 17 + ")" * 17}, "#/pattern", "schema_pattern_unsupported"),
    ("long repetition", {"pattern": "^a{1,100000}$"}, "#/pattern", "schema_pattern_unsupported"),
    ("nested repetition", {"pattern": "^([a-z]{0,100}){0,30}$"}, "#/pattern", "schema_pattern_unsupported"),
    ("false", False, "", "schema_unsatisfiable"),
    ("false inside", {"properties": {"a": False}}, "#/properties/a", "schema_unsatisfiable"),
    ("minimum > maximum", {"type": "integer", "minimum": 5, "maximum": 2}, "#/maximum", "schema_unsatisfiable"),
    ("minLength > maxLength", {"minLength": 5, "maxLength": 2}, "#/maxLength", "schema_unsatisfiable"),
    (
        "required but not allowed",
        {"type": "object", "required": ["a"], "additionalProperties": False},
        "#/required",
        "schema_unsatisfiable",
    ),
    ("no value of the type", {"type": "string", "enum": [1]}, "", "schema_unsatisfiable"),
    ("null", "null", "", "schema_invalid"),
    ("no JSON", "{", "", "schema_invalid"),
    ("reference to nothing", {"$ref": "#/$defs/none"}, "#/$ref", "schema_invalid"),
]


@pytest.mark.parametrize(
    ("schema", "pointer", "kind"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_a_schema_that_cannot_be_kept_says_its_kind_and_its_place(schema: Any, pointer: str, kind: str) -> None:
    error = refusal(schema)

    assert error.facts["kind"] == kind
    assert error.field == SCHEMA + pointer


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object", "properties": {}},
        {"type": "string", "maxLength": 1_000},
        {"type": "string", "pattern": "not anchored"},
        {"type": "string", "pattern": "^([a-z]{0,60}){0,30}$"},
    ],
    ids=json.dumps,
)
def test_a_schema_within_the_budget_is_accepted(schema: Any) -> None:
    assert gbnf_of(prompt("Go.", response_format=JsonSchema(schema_json=json.dumps(schema)))).startswith("root ::=")


GRAMMARS: list[tuple[str, str, str]] = [
    ("256 KiB", 'root ::= "' + "a" * 262_144 + '"', "schema_too_complex"),
    ("200 parentheses", "root ::= " + "(" * 200 + '"a"' + ")" * 200, "schema_too_complex"),
    ("1 000 repetitions", 'root ::= "a"{0,1001}', "schema_too_complex"),
    ("2 000 nested repetitions", 'root ::= ("a"{0,100}){0,21}', "schema_too_complex"),
    ("no root", 'answer ::= "a"', "schema_unsupported"),
]


@pytest.mark.parametrize(("gbnf", "kind"), [each[1:] for each in GRAMMARS], ids=[each[0] for each in GRAMMARS])
def test_a_grammar_over_the_budget_is_refused_with_its_kind(gbnf: str, kind: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        gbnf_of(prompt("Go.", response_format=Grammar(gbnf=gbnf)))

    assert caught.value.facts == {"field": "response_format.grammar", "kind": kind}


@pytest.mark.parametrize(
    "bad", [{"$ref": "#"}, {"properties": {"a": False}}, {"enum": list(range(1_001))}, nested(40)], ids=str
)
def test_one_bad_tool_among_thirty_is_left_out(bad: Any) -> None:
    good = [ToolDefinition(name=f"tool{n}", parameters_json='{"properties": {"a": {}}}') for n in range(29)]
    tools = (*good[:14], ToolDefinition(name="bad", parameters_json=json.dumps(bad)), *good[14:])
    gbnf = gbnf_of(prompt("Go.", tools=tools, tool_choice=REQUIRED))

    assert all(f'"name\\": \\"{tool.name}' in gbnf for tool in good)
    assert '\\"bad\\"' not in gbnf


def test_one_tool_whose_grammar_multiplies_does_not_spoil_the_others() -> None:
    schema = json.dumps({"properties": {"a": ladder(30, at="#/properties/a")}, "required": ["a"]})
    bad, good = ToolDefinition(name="bad", parameters_json=schema), ToolDefinition(name="good")
    gbnf = without_bad_tools(prompt("Go.", tools=(bad, good), tool_choice=REQUIRED), gbnf_of)

    assert '\\"good\\"' in gbnf
    assert '\\"bad\\"' not in gbnf

    for tools in ((bad,), (replace(bad, strict=True), good)):
        with pytest.raises(UnsupportedSchema):
            without_bad_tools(prompt("Go.", tools=tools, tool_choice=REQUIRED), gbnf_of)


def test_a_tool_with_larger_upper_bounds_than_can_be_said_is_called_within_them() -> None:
    tool = ToolDefinition(name="write", parameters_json='{"properties": {"text": {"maxLength": 100000}}}')

    assert "{0,1000}" in gbnf_of(prompt("Go.", tools=(tool,), tool_choice=REQUIRED))
