"""The scripted backend follows its script."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from inference_svc.adapters.script import Script, read_script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.events import Event
from tests.inference_svc.engines import answered, calls_of, end_of, prompt, text_of
from threadmesh.conversation import (
    FinishReason,
    Message,
    ReasoningDelta,
    Role,
    Text,
    TextDelta,
    ToolChoice,
    ToolChoiceMode,
    ToolDefinition,
    message,
)
from threadmesh.errors import BackendUnavailable, Overloaded
from threadmesh.settings import ConfigurationError

WEATHER = ToolDefinition(name="weather", parameters_json='{"type": "object", "required": ["city"]}')
SCRIPT = Script.model_validate(
    {
        "arguments": {"weather": {"city": "Oslo"}},
        "rules": [
            {
                "match": "weather in (\\w+)",
                "role": "user",
                "steps": [
                    {"text": "Looking at \\1. "},
                    {"tool_call": {"name": "weather", "arguments": {"city": "\\1", "days": 2}}},
                ],
            },
            {"match": "degrees", "role": "tool", "steps": [{"text": "It is \\0."}]},
            {"match": "why (\\w+)", "steps": [{"reasoning": "Is \\1 so?"}, {"text": "It is."}]},
            {
                "match": "two cities",
                "steps": [{"tool_call": {"name": "weather", "arguments": {"city": city}}} for city in ("Rome", "Oslo")],
            },
            {"match": "full", "refuse": {"reason": "OVERLOADED"}},
            {"match": "hang", "steps": [{"text": "And "}, {"stall": True}]},
        ],
    }
)


def backend() -> ScriptedBackend:
    return ScriptedBackend(SCRIPT, created=1)


async def test_a_rule_speaks_and_calls_with_what_its_expression_found() -> None:
    events = await answered(backend(), prompt("the weather in Rome?", tools=(WEATHER,)))

    assert text_of(events) == "Looking at Rome. "
    assert calls_of(events) == [("weather", '{"city": "Rome", "days": 2}')]
    assert end_of(events).reason is FinishReason.TOOL_CALLS


async def test_a_rule_thinks_before_it_speaks() -> None:
    events = await answered(backend(), prompt("why snow?"))

    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "Is snow so?"
    assert text_of(events) == "It is."
    assert end_of(events).usage.reasoning_tokens == 3


async def test_a_rule_does_not_think_where_that_is_not_wanted() -> None:
    asked = prompt("why snow?")
    events = await answered(backend(), replace(asked, conversation=replace(asked.conversation, thinking=False)))

    assert not any(isinstance(event, ReasoningDelta) for event in events)
    assert text_of(events) == "It is."


@pytest.mark.parametrize(("parallel", "cities"), [(True, ["Rome", "Oslo"]), (False, ["Rome"])])
async def test_a_rule_calls_once_where_calls_are_not_to_be_parallel(parallel: bool, cities: list[str]) -> None:
    asked = prompt("two cities", tools=(WEATHER,), parallel_tool_calls=parallel)
    events = await answered(backend(), asked)

    assert [json.loads(arguments)["city"] for _, arguments in calls_of(events)] == cities
    assert end_of(events).reason is FinishReason.TOOL_CALLS


async def test_a_rule_calls_no_tool_that_is_not_offered() -> None:
    events = await answered(backend(), prompt("the weather in Rome?"))

    assert calls_of(events) == []
    assert end_of(events).reason is FinishReason.STOP


async def test_a_rule_for_tools_reads_what_the_tool_said() -> None:
    result = Message(role=Role.TOOL, parts=(Text(text="20 degrees"),), tool_call_id="c")
    events = await answered(backend(), prompt((message(Role.USER, "the weather in Rome?"), result)))

    assert text_of(events) == "It is degrees."


async def test_a_forced_call_takes_the_arguments_of_the_script() -> None:
    required = ToolChoice(mode=ToolChoiceMode.REQUIRED)
    events = await answered(backend(), prompt("hello", tools=(WEATHER,), tool_choice=required))

    assert calls_of(events) == [("weather", '{"city": "Oslo"}')]


async def test_what_no_rule_matches_is_echoed() -> None:
    assert text_of(await answered(backend(), prompt("Good morning"))) == "You said: Good morning"


async def test_a_refusal_comes_before_the_first_event() -> None:
    with pytest.raises(Overloaded):
        await answered(backend(), prompt("full"))


async def test_a_stall_lasts_until_the_stream_is_closed() -> None:
    said: list[Event] = []
    async with aclosing(backend().stream(prompt("hang"))) as events:
        async for event in events:
            said.append(event)
            if isinstance(event, TextDelta):
                break

    assert text_of(said) == "And"


async def test_a_failure_is_of_the_scripted_kind() -> None:
    script = Script.model_validate({"rules": [{"match": "", "fail": {"reason": "BACKEND_UNAVAILABLE"}}]})

    with pytest.raises(BackendUnavailable):
        await answered(ScriptedBackend(script, created=1), prompt("x"))


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{", "Invalid JSON"),
        ('{"rules": [{"match": "("}]}', "not a regular expression"),
        ('{"rules": [{"match": "a", "says": "b"}]}', "rules.0.says"),
        ('{"rules": [{"match": "a", "fail": {"reason": "WHATEVER"}}]}', "rules.0.fail.reason"),
    ],
)
def test_a_script_that_is_wrong_is_refused_with_its_place(tmp_path: Path, written: str, problem: str) -> None:
    place = tmp_path / "script.json"
    place.write_text(written)

    with pytest.raises(ConfigurationError, match=problem):
        read_script(place)


def test_a_script_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_script(tmp_path / "none.json")


def test_an_empty_script_is_one(tmp_path: Path) -> None:
    place = tmp_path / "script.json"
    place.write_text("{}")

    assert read_script(place) == Script()


async def test_a_step_says_one_token_of_every_answer() -> None:
    stepping = ScriptedBackend(Script(step_ms=20), created=1)
    said: list[str] = []

    async def hear(name: str) -> None:
        async with aclosing(stepping.stream(prompt("one two three four"))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said.append(name)

    await asyncio.gather(hear("a"), hear("b"))

    assert [set(said[step : step + 2]) for step in range(0, len(said), 2)] == [{"a", "b"}] * (len(said) // 2)
