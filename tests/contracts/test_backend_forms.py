"""What every backend promises of answers that have a form: tool calls, and JSON by a schema."""

import json
from typing import Any

import jsonschema_rs
import pytest

from inference_svc.domain.ports import Backend
from inference_svc.domain.prompt import JsonObject, JsonSchema
from tests.inference_svc.engines import GREEDY, answered, calls_of, end_of, prompt, text_of
from threadmesh.conversation import (
    FinishReason,
    Message,
    Role,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceMode,
    ToolDefinition,
    message,
)
from threadmesh.errors import InvalidArgument, UnsupportedSchema
from threadmesh.sampling import Sampling

TOOLS = (
    ToolDefinition(
        name="lookup",
        description="Looks something up",
        parameters_json=json.dumps(
            {
                "type": "object",
                "properties": {
                    "kind": {"enum": ["fish", "bird"]},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 20},
                    "names": {
                        "type": "array",
                        "items": {"type": "string", "maxLength": 12},
                        "minItems": 1,
                        "maxItems": 2,
                    },
                },
                "required": ["kind", "limit", "names"],
                "additionalProperties": False,
            }
        ),
    ),
    ToolDefinition(name="ping"),
    ToolDefinition(
        name="note",
        parameters_json=json.dumps(
            {"type": "object", "properties": {"tag": {"type": "string", "pattern": "^[a-z]{2,5}$"}}}
        ),
    ),
)


def schema_of(tool: ToolDefinition) -> Any:
    return json.loads(tool.parameters_json or "{}")


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_required_call_is_one_of_the_tools_and_fits_its_schema(backend: Backend, seed: int) -> None:
    required = ToolChoice(mode=ToolChoiceMode.REQUIRED)
    sampling = Sampling(temperature=1.5, seed=seed)
    events = await answered(backend, prompt("Help.", tools=TOOLS, tool_choice=required, sampling=sampling))
    calls = calls_of(events)

    assert end_of(events).reason is FinishReason.TOOL_CALLS
    assert calls
    for name, arguments in calls:
        [tool] = [tool for tool in TOOLS if tool.name == name]
        jsonschema_rs.validator_for(schema_of(tool)).validate(json.loads(arguments))


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_required_call_is_the_only_one_where_calls_are_not_to_be_parallel(backend: Backend, seed: int) -> None:
    required, sampling = ToolChoice(mode=ToolChoiceMode.REQUIRED), Sampling(temperature=1.5, seed=seed)
    asked = prompt("Help.", tools=TOOLS, tool_choice=required, sampling=sampling, parallel_tool_calls=False)
    events = await answered(backend, asked)

    assert end_of(events).reason is FinishReason.TOOL_CALLS
    assert len(calls_of(events)) == 1


@pytest.mark.parametrize("tool", [TOOLS[0], TOOLS[1]], ids=["lookup", "ping"])
async def test_a_named_call_is_of_that_tool_and_fits_its_schema(backend: Backend, tool: ToolDefinition) -> None:
    named = ToolChoice(mode=ToolChoiceMode.REQUIRED, name=tool.name)
    events = await answered(backend, prompt("Say hello.", tools=TOOLS, tool_choice=named, sampling=GREEDY))
    [(name, arguments)] = calls_of(events)

    assert name == tool.name
    jsonschema_rs.validator_for(schema_of(tool)).validate(json.loads(arguments))
    assert text_of(events) == ""


async def test_the_first_piece_of_a_call_names_it_and_no_other_does(backend: Backend) -> None:
    named = ToolChoice(mode=ToolChoiceMode.REQUIRED, name="lookup")
    events = await answered(backend, prompt("Look.", tools=TOOLS, tool_choice=named, sampling=GREEDY))
    first, *rest = [event for event in events if isinstance(event, ToolCallDelta)]

    assert first.id
    assert first.name == "lookup"
    assert all(not delta.id and not delta.name for delta in rest)


async def test_no_tool_is_called_where_that_is_forbidden(backend: Backend) -> None:
    forbidden = ToolChoice(mode=ToolChoiceMode.NONE)
    events = await answered(backend, prompt("Look.", tools=TOOLS, tool_choice=forbidden, max_tokens=8))

    assert not calls_of(events)


@pytest.mark.parametrize(
    "choice",
    [ToolChoice(mode=ToolChoiceMode.REQUIRED, name="absent"), ToolChoice(mode=ToolChoiceMode.REQUIRED, name="x")],
)
async def test_a_choice_of_an_absent_tool_is_refused(backend: Backend, choice: ToolChoice) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await answered(backend, prompt("Look.", tools=TOOLS, tool_choice=choice))

    assert caught.value.field.startswith("tool_choice")


async def test_a_required_call_without_tools_is_refused(backend: Backend) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await answered(backend, prompt("Look.", tool_choice=ToolChoice(mode=ToolChoiceMode.REQUIRED)))

    assert caught.value.field == "tool_choice"


async def test_an_answer_by_a_schema_conforms_to_it(backend: Backend) -> None:
    schema = schema_of(TOOLS[0])
    wanted = JsonSchema(schema_json=json.dumps(schema))
    for seed in (1, 2):
        sampling = Sampling(temperature=1.2, seed=seed)
        asked = prompt("Describe it as JSON.", response_format=wanted, sampling=sampling, max_tokens=120)
        events = await answered(backend, asked)

        jsonschema_rs.validator_for(schema).validate(json.loads(text_of(events)))
        assert end_of(events).reason is FinishReason.STOP


async def test_an_answer_as_json_is_an_object(backend: Backend) -> None:
    asked = prompt('Answer with {"a": 1}', response_format=JsonObject(), sampling=GREEDY, max_tokens=200)
    events = await answered(backend, asked)

    assert end_of(events).reason is FinishReason.LENGTH or isinstance(json.loads(text_of(events)), dict)
    assert text_of(events).startswith("{")


@pytest.mark.parametrize(
    "bomb",
    [
        {"type": "string", "minLength": 1, "maxLength": 20_000},
        {"type": "array", "items": {"type": "string"}, "maxItems": 100_000},
        {"$ref": "#"},
        {"$ref": "http://127.0.0.1/schema"},
    ],
)
async def test_a_schema_that_would_cost_too_much_is_refused(backend: Backend, bomb: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        await answered(backend, prompt("Go.", response_format=JsonSchema(schema_json=json.dumps(bomb))))

    assert caught.value.field.startswith("response_format.json_schema.schema_json#/")


async def test_tool_results_can_be_read(backend: Backend) -> None:
    named = ToolChoice(mode=ToolChoiceMode.REQUIRED, name="ping")
    events = await answered(backend, prompt("Ping.", tools=TOOLS, tool_choice=named))
    [call] = [event for event in events if isinstance(event, ToolCallDelta) and event.id]
    turns = (
        message(Role.USER, "Ping."),
        Message(role=Role.ASSISTANT, tool_calls=(ToolCall(id=call.id, name=call.name, arguments_json="{}"),)),
        Message(role=Role.TOOL, parts=(Text(text="pong"),), tool_call_id=call.id),
    )

    assert text_of(await answered(backend, prompt(turns, tools=TOOLS, max_tokens=8)))


async def test_a_lenient_schema_holds_for_what_can_be_guaranteed(backend: Backend) -> None:
    schema = {
        "type": "object",
        "properties": {"tag": {"type": "string", "maxLength": 8, "not": {"const": "x"}}},
        "required": ["tag"],
        "additionalProperties": False,
    }
    lenient = JsonSchema(schema_json=json.dumps(schema), lenient=True)
    events = await answered(backend, prompt("Go.", response_format=lenient, sampling=GREEDY, max_tokens=60))

    assert list(json.loads(text_of(events))) == ["tag"]
