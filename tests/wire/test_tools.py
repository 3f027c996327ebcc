"""The tools service as its callers meet it: real MCP servers behind a real gRPC server."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from tests.tools_svc.given import CROOKED_SERVER, WORKSHOP_SERVER, Mesh, call, mesh, text
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.errors import (
    CallNotFound,
    InvalidArgument,
    StaleEpoch,
)
from threadmesh.rpc.channel import translated

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ODD = "an odd name/with signs"
NOWHERE = {"command": "no-such-command-anywhere"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """One service for all tests that break nothing: a workshop, one that nobody vouches for, one in a hurry."""
    async with mesh(
        tmp_path_factory.mktemp("tools"),
        workshop=WORKSHOP_SERVER,
        unsafe=WORKSHOP_SERVER | {"effects": {}},
        hasty=WORKSHOP_SERVER | {"timeout_seconds": 0.05},
        crooked=CROOKED_SERVER,
    ) as shared:
        yield shared


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    """A run, and a gate or a meeting place, of this test's own."""
    return str(request.node.name)


async def _until_progress(stream: Any) -> None:
    async for event in stream:
        if event.HasField("progress"):
            return


async def _drained(stream: Any) -> list[Any]:
    async with asyncio.timeout(60):
        return [event async for event in stream if not event.HasField("heartbeat")]


async def test_calls_of_one_batch_run_side_by_side(running: Mesh, run_id: str) -> None:
    """Each of them returns only when all are in flight."""
    calls = [call("workshop__meet", str(n), place=run_id, parties=8) for n in range(8)]

    ended = await running.run(*calls)

    assert [ended[str(n)].outcome for n in range(8)] == [events.CALL_OUTCOME_SUCCEEDED] * 8


async def test_what_goes_wrong_with_one_call_costs_no_other_of_its_batch(tmp_path: Path) -> None:
    """The one that hangs is the last to end, so nobody waited for it."""
    servers: dict[str, Any] = {
        "well": WORKSHOP_SERVER,
        "errs": WORKSHOP_SERVER,
        "dies": WORKSHOP_SERVER | {"effects": {}},
    }
    hasty = WORKSHOP_SERVER | {"timeout_seconds": 5}
    async with mesh(tmp_path, **servers, hangs=hasty, floods=CROOKED_SERVER) as running:
        given = await running.events(
            call("hangs__gate", "hang", name="never"),
            call("floods__huge", "huge"),
            call("dies__die", "die", ledger=str(tmp_path / "ledger")),
            call("errs__fail", "error", why="no luck"),
            call("well__big", "well", size=3),
        )

    ended = {each.call_id: each.finished for each in given if each.HasField("finished")}
    assert list(ended)[-1] == "hang"
    assert {name: (each.outcome, each.failure.reason) for name, each in ended.items()} == {
        "hang": (events.CALL_OUTCOME_FAILED, "DEADLINE_EXCEEDED"),
        "huge": (events.CALL_OUTCOME_FAILED, "TOOL_RESULT_TOO_LARGE"),
        "die": (events.CALL_OUTCOME_UNKNOWN, "TOOL_CONNECTION_LOST"),
        "error": (events.CALL_OUTCOME_FAILED, "TOOL_FAILED"),
        "well": (events.CALL_OUTCOME_SUCCEEDED, ""),
    }
    assert text(ended["well"]) == "xxx"


async def test_a_call_ends_by_its_time_however_much_its_server_reports(tmp_path: Path) -> None:
    async with mesh(tmp_path, floods=CROOKED_SERVER | {"timeout_seconds": 1}, well=WORKSHOP_SERVER) as running:
        given = await running.events(call("floods__flood_for_ever", "flood"))
        ended = await running.run(call("well__big", "well", size=3))

    assert any(each.HasField("progress") for each in given)
    assert given[-2].finished.failure.reason == "DEADLINE_EXCEEDED"
    assert ended["well"].outcome == events.CALL_OUTCOME_SUCCEEDED


async def test_a_stream_numbers_its_events_and_ends_with_done(running: Mesh) -> None:
    given = await running.events(call("workshop__work", steps=3))

    kinds = [event.WhichOneof("event") for event in given]
    assert kinds[0] == "started"
    assert kinds[-2:] == ["finished", "done"]
    assert set(kinds[1:-2]) == {"progress"}
    assert [event.sequence for event in given] == sorted({event.sequence for event in given})


async def test_progress_arrives_before_the_result(running: Mesh, run_id: str) -> None:
    """The gate opens only after its progress was seen."""
    async with asyncio.timeout(60):
        stream = running.tools.ExecuteTools(pb.ExecuteToolsRequest(calls=[call("workshop__gate", name=run_id)]))
        await _until_progress(stream)
        await running.run(call("workshop__open_gate", name=run_id))
        rest = await _drained(stream)

    assert text(rest[-2].finished) == "passed"


async def test_a_silent_stream_gives_signs_of_life(running: Mesh, run_id: str) -> None:
    async with asyncio.timeout(60):
        stream = running.tools.ExecuteTools(pb.ExecuteToolsRequest(calls=[call("workshop__gate", name=run_id)]))
        async for event in stream:
            if event.HasField("heartbeat"):
                await running.run(call("workshop__open_gate", name=run_id))
            if event.HasField("finished"):
                break

    assert text(event.finished) == "passed"


async def test_arguments_with_19_digits_arrive_intact(running: Mesh) -> None:
    value = {"channel_id": 1234567890123456789, "nothing": None}

    ended = await running.run(call("workshop__echo", value=value))

    assert json.loads(ended["call"].structured_json)["value"] == value


async def test_what_is_wrong_with_a_call_is_its_result_and_nothing_is_sent(running: Mesh, run_id: str) -> None:
    wrong = {
        "type": call("workshop__meet", "type", place="x", parties="many"),
        "missing": call("workshop__meet", "missing", place="x"),
        "nan": call("workshop__echo", "nan"),
        "list": call("workshop__echo", "list"),
        "unknown": call("workshop__nothing", "unknown"),
        "nowhere": call("nothing", "nowhere"),
    }
    wrong["nan"].arguments_json = '{"value": NaN}'
    wrong["list"].arguments_json = "[]"

    given = await running.events(*wrong.values())

    ended = {event.call_id: event.finished for event in given if event.HasField("finished")}
    assert not any(event.HasField("started") for event in given)
    assert {name: finished.failure.reason for name, finished in ended.items()} == {
        "type": "INVALID_TOOL_ARGUMENTS",
        "missing": "INVALID_TOOL_ARGUMENTS",
        "nan": "INVALID_TOOL_ARGUMENTS",
        "list": "INVALID_TOOL_ARGUMENTS",
        "unknown": "TOOL_NOT_FOUND",
        "nowhere": "TOOL_NOT_FOUND",
    }
    assert "/parties" in text(ended["type"])
    assert {finished.outcome for finished in ended.values()} == {events.CALL_OUTCOME_FAILED}


async def test_a_read_only_call_that_takes_too_long_has_failed(running: Mesh) -> None:
    ended = await running.run(call("crooked__silent"), timeout=Duration(nanos=50_000_000))

    assert ended["call"].outcome == events.CALL_OUTCOME_FAILED
    assert ended["call"].failure.reason == "DEADLINE_EXCEEDED"


async def test_an_unsafe_call_that_takes_too_long_has_an_unknown_outcome(running: Mesh, run_id: str) -> None:
    ended = await running.run(call("workshop__meet", place=run_id, parties=2), timeout=Duration(nanos=50_000_000))

    assert ended["call"].outcome == events.CALL_OUTCOME_UNKNOWN
    assert ended["call"].failure.reason == "DEADLINE_EXCEEDED"


async def test_the_servers_own_time_limit_ends_a_call(running: Mesh) -> None:
    ended = await running.run(call("hasty__gate", name="never"))

    assert ended["call"].failure.reason == "DEADLINE_EXCEEDED"


async def test_cancelling_a_harmless_call_stops_it_on_its_server(running: Mesh, run_id: str) -> None:
    async with asyncio.timeout(60):
        request = pb.ExecuteToolsRequest(run_id=run_id, calls=[call("workshop__gate", name=run_id)])
        stream = running.tools.ExecuteTools(request)
        await _until_progress(stream)
        answer = await running.tools.CancelCall(pb.CancelCallRequest(run_id=run_id, call_id="call"))
        again = await running.tools.CancelCall(pb.CancelCallRequest(run_id=run_id, call_id="call"))
        rest = await _drained(stream)
        await running.run(call("workshop__was_cancelled", name=run_id))

    assert answer.cancelled
    assert not again.cancelled
    assert rest[-2].finished.outcome == events.CALL_OUTCOME_FAILED
    assert rest[-2].finished.failure.reason == "CANCELLED"


async def test_cancelling_an_unsafe_call_leaves_its_outcome_unknown(running: Mesh, run_id: str) -> None:
    async with asyncio.timeout(60):
        stream = running.tools.ExecuteTools(
            pb.ExecuteToolsRequest(run_id=run_id, calls=[call("unsafe__gate", name=run_id)])
        )
        await _until_progress(stream)
        await running.tools.CancelCall(pb.CancelCallRequest(run_id=run_id, call_id="call"))
        rest = await _drained(stream)

    assert rest[-2].finished.outcome == events.CALL_OUTCOME_UNKNOWN


async def test_cancelling_an_unheard_of_call_is_not_found(running: Mesh, run_id: str) -> None:
    with pytest.raises(CallNotFound):
        async with translated(peer="tools"):
            await running.tools.CancelCall(pb.CancelCallRequest(run_id=run_id, call_id="call"))


async def test_leaving_the_stream_stops_a_harmless_call(running: Mesh, run_id: str) -> None:
    async with asyncio.timeout(60):
        stream = running.tools.ExecuteTools(pb.ExecuteToolsRequest(calls=[call("workshop__gate", name=run_id)]))
        await _until_progress(stream)
        stream.cancel()
        ended = await running.run(call("workshop__was_cancelled", name=run_id))

    assert text(ended["call"]) == "cancelled"


async def test_leaving_the_stream_does_not_stop_an_unsafe_call(running: Mesh, run_id: str) -> None:
    """The call belongs to its run, not to the request that asked for it."""
    async with asyncio.timeout(60):
        gate = call("unsafe__gate", "gate", name=run_id)
        stream = running.tools.ExecuteTools(pb.ExecuteToolsRequest(run_id=run_id, calls=[gate]))
        await _until_progress(stream)
        stream.cancel()
        watching = running.tools.WatchCalls(pb.WatchCallsRequest(run_id=run_id))
        await _until_progress(watching)
        await running.run(call("unsafe__open_gate", name=run_id))
        rest = await _drained(watching)

    assert text(rest[-2].finished) == "passed"
    assert rest[-1].HasField("done")


async def test_a_call_that_is_asked_for_again_is_not_sent_again(tmp_path: Path) -> None:
    """The ledger has a line for every time that the tool really ran."""
    ledger = tmp_path / "ledger"
    dies = call("workshop__die", ledger=str(ledger))

    async with mesh(tmp_path, workshop=WORKSHOP_SERVER) as running:
        first = await running.run(dies, run_id="run")
        again = await running.run(dies, run_id="run")

    assert again == first
    assert ledger.read_text() == "died\n"


async def test_two_streams_can_follow_one_running_call(running: Mesh, run_id: str) -> None:
    async with asyncio.timeout(60):
        request = pb.ExecuteToolsRequest(run_id=run_id, calls=[call("workshop__gate", name=run_id)])
        first, second = running.tools.ExecuteTools(request), running.tools.ExecuteTools(request)
        await _until_progress(first)
        await _until_progress(second)
        first.cancel()
        await running.run(call("workshop__open_gate", name=run_id))
        rest = await _drained(second)

    assert text(rest[-2].finished) == "passed"


async def test_one_id_cannot_stand_for_two_calls(running: Mesh, run_id: str) -> None:
    await running.run(call("workshop__echo", value=1), run_id=run_id)
    with pytest.raises(InvalidArgument) as other:
        async with translated(peer="tools"):
            await running.run(call("workshop__echo", value=2), run_id=run_id)
    with pytest.raises(InvalidArgument) as double:
        async with translated(peer="tools"):
            await running.run(call("workshop__echo", value=3), call("workshop__echo", value=3))

    assert other.value.facts["field"] == "calls[0].id"
    assert double.value.facts["field"] == "calls[1].id"


async def test_an_overtaken_owner_of_a_run_is_refused(running: Mesh, run_id: str) -> None:
    await running.run(call("workshop__echo", "1", value=1), run_id=run_id, epoch=2)
    with pytest.raises(StaleEpoch):
        async with translated(peer="tools"):
            await running.run(call("workshop__echo", "2", value=1), run_id=run_id, epoch=1)


async def test_watching_calls_begins_after_the_given_event(running: Mesh, run_id: str) -> None:
    await running.run(call("workshop__echo", value=1), run_id=run_id)
    whole = await _drained(running.tools.WatchCalls(pb.WatchCallsRequest(run_id=run_id)))
    rest = await _drained(running.tools.WatchCalls(pb.WatchCallsRequest(run_id=run_id, after_sequence=1)))

    assert [event.WhichOneof("event") for event in whole] == ["started", "finished", "done"]
    assert rest == whole[1:]


async def test_a_call_carries_its_ids_to_the_server(running: Mesh) -> None:
    request = pb.ExecuteToolsRequest(run_id="r1", thread_id="t1", calls=[call("workshop__meta", "c1")])
    sent = [("x-request-id", "q1"), ("traceparent", TRACE)]
    given = await _drained(running.tools.ExecuteTools(request, metadata=sent))

    meta = json.loads(given[-2].finished.structured_json)
    assert meta.pop("threadmesh/idempotencyKey")
    assert meta == {
        "threadmesh/runId": "r1",
        "threadmesh/threadId": "t1",
        "threadmesh/callId": "c1",
        "threadmesh/requestId": "q1",
        "traceparent": TRACE,
    }


async def test_pictures_sounds_and_links_reach_the_caller(running: Mesh) -> None:
    ended = await running.run(call("workshop__show"))

    image, audio, link = ended["call"].parts
    assert (image.media.mime_type, image.media.data) == ("image/png", b"\x00\x01\x02")
    assert (audio.media.mime_type, audio.media.data) == ("audio/wav", b"\x03\x04")
    assert "https://example.com/manual" in link.text


async def test_a_tool_with_an_odd_name_can_be_called_by_its_fitted_one(running: Mesh) -> None:
    listed = await running.tools.ListTools(pb.ListToolsRequest())
    odd = next(each for each in listed.tools if (each.server, each.server_tool) == ("workshop", ODD))
    only = await running.tools.ListTools(pb.ListToolsRequest(names=[odd.definition.name]))
    ended = await running.run(call(odd.definition.name))

    assert re.fullmatch(r"workshop__an_odd_name_with_signs_[0-9a-f]{8}", odd.definition.name)
    assert [tool.server_tool for tool in only.tools] == [odd.server_tool]
    assert text(ended["call"]) == "odd"


async def test_an_empty_batch_is_refused(running: Mesh) -> None:
    with pytest.raises(InvalidArgument):
        async with translated(peer="tools"):
            await running.run()
