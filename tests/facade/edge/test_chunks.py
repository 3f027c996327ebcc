"""Streams are what stock clients read without harm."""

import json
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

from facade.domain.events import Body, ModelFinished, ModelStarted, Run, RunEvent, RunFinished, RunState
from facade.edge.chat.chunks import blocks
from facade.edge.chat.completion import Completion
from facade.edge.chat.decode import Presentation
from threadmesh.conversation import (
    CallFinished,
    CallOutcome,
    CallProgress,
    CallStarted,
    Failure,
    FinishReason,
    Text,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from threadmesh.errors import BackendUnavailable, StoreUnavailable

RUN = Run(id="run_1", thread_id="thread_1", state=RunState.RUNNING, create_time=datetime(2026, 1, 1, tzinfo=UTC))
USAGE = Usage(prompt_tokens=5, cached_tokens=3, completion_tokens=2)
ANSWER: list[Body] = [
    ModelStarted(model="m", backend="b"),
    CallStarted(name="time__now", server="time", arguments_json="{}"),
    CallProgress(progress=1, total=2, message="half"),
    CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(Text(text="noon"),), seconds=0.5),
    ModelStarted(model="m", backend="b"),
    TextDelta(text="It is "),
    TextDelta(text="", token_ids=(1,)),
    TextDelta(text="noon."),
    ModelFinished(reason=FinishReason.STOP, usage=USAGE),
    RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.STOP, usage=USAGE),
]


async def log(bodies: Sequence[Body]) -> AsyncGenerator[Sequence[RunEvent], None]:
    yield [RunEvent(sequence=number, call_id="c1", body=body) for number, body in enumerate(bodies)]
    yield []


async def shown(bodies: Sequence[Body], *, events: bool = False, include_usage: bool = False) -> list[bytes]:
    how = Presentation(stream=True, include_usage=include_usage, events=events, prompt_bytes=0)
    return [block async for block in blocks(RUN, log(bodies), how)]


def chunks(written: Sequence[bytes]) -> list[dict[str, Any]]:
    lines = b"".join(written).decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


async def test_a_stream_ends_with_a_reason_and_done() -> None:
    written = await shown(ANSWER)

    assert written[-1] == b"data: [DONE]\n\n"
    assert chunks(written)[-1]["choices"][0]["finish_reason"] == "stop"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(written)) == "It is noon."


async def test_the_role_is_told_once() -> None:
    roles = [chunk["choices"][0]["delta"].get("role") for chunk in chunks(await shown(ANSWER))]

    assert roles.count("assistant") == 1
    assert roles[0] == "assistant"


async def test_every_block_has_data_and_its_id_in_the_same_block() -> None:
    for block in (await shown(ANSWER, events=True))[:-1]:
        first, second, *rest = block.split(b"\n")
        assert first.startswith(b"id: run_1:")
        assert second.startswith(b"data: {")
        assert rest == [b"", b""]


async def test_tools_of_the_mesh_are_silent_unless_asked_for() -> None:
    assert not [chunk for chunk in chunks(await shown(ANSWER)) if "threadmesh" in chunk]


async def test_tool_events_ride_on_empty_chunks_and_never_as_tool_calls() -> None:
    told = [chunk for chunk in chunks(await shown(ANSWER, events=True)) if "threadmesh" in chunk]

    assert [chunk["threadmesh"]["event"] for chunk in told] == ["tool.started", "tool.progress", "tool.finished"]
    assert all(
        chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": None, "logprobs": None}] for chunk in told
    )
    assert told[2]["threadmesh"]["output"] == "noon"


async def test_usage_comes_last_and_only_when_asked_for() -> None:
    assert all(len(chunk["choices"]) == 1 for chunk in chunks(await shown(ANSWER)))

    *before, last = chunks(await shown(ANSWER, include_usage=True))

    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    assert all(chunk["usage"] is None for chunk in before)


async def test_a_failure_in_the_middle_is_an_error_event_without_done() -> None:
    failed = RunFinished(state=RunState.FAILED, failure=Failure.of(BackendUnavailable()))
    written = await shown([*ANSWER[:6], failed])

    assert b"[DONE]" not in b"".join(written)
    assert chunks(written)[-1]["error"]["code"] == "backend_unavailable"


async def test_a_log_that_breaks_off_is_an_error_not_a_success() -> None:
    written = await shown(ANSWER[:6])

    assert b"[DONE]" not in b"".join(written)
    assert chunks(written)[-1]["error"]["type"] == "server_error"


async def test_a_log_that_cannot_be_read_on_is_an_error_event() -> None:
    async def breaking() -> AsyncGenerator[Sequence[RunEvent], None]:
        yield [RunEvent(sequence=number, body=body) for number, body in enumerate(ANSWER[:6])]
        raise StoreUnavailable

    how = Presentation(stream=True, include_usage=False, events=False, prompt_bytes=0)
    written = [block async for block in blocks(RUN, breaking(), how)]

    assert chunks(written)[-1]["error"]["code"] == "store_unavailable"


async def test_the_same_log_gives_the_same_bytes() -> None:
    assert await shown(ANSWER, events=True) == await shown(ANSWER, events=True)


async def test_a_clients_tool_call_streams_its_id_and_name_once() -> None:
    calls: list[Body] = [
        ModelStarted(model="m", backend="b"),
        ToolCallDelta(index=0, id="c1", name="f", arguments_json='{"a"'),
        ToolCallDelta(index=0, arguments_json=":1}"),
        RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.TOOL_CALLS),
    ]
    pieces = [
        piece for chunk in chunks(await shown(calls)) for piece in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]

    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    assert pieces == [first, {"index": 0, "function": {"arguments": ":1}"}}]


def test_a_completion_holds_what_the_stream_said() -> None:
    completion = Completion(RUN)
    for number, body in enumerate(ANSWER):
        completion.add(RunEvent(sequence=number, body=body))

    assert isinstance(ANSWER[-1], RunFinished)
    whole = completion.body(ANSWER[-1])

    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "It is noon.", "refusal": None}
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert completion.tools_were_called


def told(choice: int, body: Body) -> RunEvent:
    return RunEvent(sequence=0, choice=choice, body=body)


TWO = [
    told(0, ModelStarted(model="m", backend="b")),
    told(1, ModelStarted(model="m", backend="b")),
    told(0, TextDelta(text="He")),
    told(1, ToolCallDelta(index=0, id="c", name="t", arguments_json="{}")),
    told(1, ModelFinished(reason=FinishReason.TOOL_CALLS, usage=USAGE)),
    told(0, TextDelta(text="llo")),
    told(0, ModelFinished(reason=FinishReason.LENGTH, usage=USAGE)),
    told(0, RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.LENGTH, usage=USAGE)),
]


async def test_several_answers_come_with_their_numbers_and_end_each_by_itself() -> None:
    async def both() -> AsyncGenerator[Sequence[RunEvent], None]:
        yield TWO

    how = Presentation(stream=True, include_usage=True, events=False, prompt_bytes=0, choices=2)
    written = chunks([block async for block in blocks(RUN, both(), how)])
    choices = [choice for chunk in written for choice in chunk["choices"]]

    assert [choice["index"] for choice in choices] == [0, 1, 0, 1, 1, 0, 0]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls", "length"]
    assert [chunk["usage"]["completion_tokens"] for chunk in written if chunk["usage"]] == [2]


def test_several_answers_are_as_many_choices() -> None:
    completion = Completion(RUN)
    for event in TWO:
        completion.add(event)
    finished = TWO[-1].body
    assert isinstance(finished, RunFinished)
    first, second = completion.body(finished)["choices"]

    assert (first["index"], first["finish_reason"], first["message"]["content"]) == (0, "length", "Hello")
    assert (second["index"], second["finish_reason"], second["message"]["content"]) == (1, "tool_calls", None)
    assert second["message"]["tool_calls"][0]["function"]["name"] == "t"
