"""Writes to a run's log, over a real loopback connection: promises in the comments of the protos."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.wire.context.given import SECONDS, SUCCEEDED, appended, finished, running, said, text, watched, writing
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.errors import InvalidArgument, RunAlreadyFinished, SequenceMismatch, StaleEpoch
from threadmesh.rpc.channel import translated
from threadmesh.testing.clock import FakeClock

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads


async def test_a_turn_is_written_and_read_back(runs: "Runs", threads: "Threads", clock: FakeClock) -> None:
    run = await running(runs, thread_key="discord:1:2")
    started_event = pb.RunEvent(model_started=pb.ModelStarted(model="small", seed=7))
    acks = await appended(runs, [writing(run, 0, started_event, text("Hel")), writing(run, 2, text("lo"))])
    clock.advance(1)
    answer = said("Hello", conversation.ROLE_ASSISTANT)
    request = pb.FinishRunRequest(run_id=run.id, epoch=run.epoch, first_sequence=3, items=[answer], finished=SUCCEEDED)
    ended = (await runs.FinishRun(request, timeout=SECONDS)).run

    assert [ack.next_sequence for ack in acks] == [2, 3]
    log = await watched(runs, run)
    assert [event.sequence for event in log] == [0, 1, 2, 3]
    assert [event.WhichOneof("event") for event in log] == [
        "model_started", "text_delta", "text_delta", "run_finished",
    ]  # fmt: skip
    assert log[0].model_started.seed == 7
    assert (log[3].create_time.ToSeconds() - log[0].create_time.ToSeconds()) == 1
    assert log[3].run_finished == ended.finished == SUCCEEDED
    assert (ended.state, ended.next_sequence, ended.owner) == (pb.RUN_STATE_SUCCEEDED, 4, "")
    assert ended.parameters_json == '{"model":"small"}'
    listed = await threads.ListItems(threads_pb.ListItemsRequest(thread_id=run.thread_id), timeout=SECONDS)
    assert [item.message.parts[0].text for item in listed.items] == ["hello", "Hello"]
    assert [item.provenance for item in listed.items] == [threads_pb.PROVENANCE_USER, threads_pb.PROVENANCE_MODEL]
    assert not listed.has_more


async def test_appends_are_acknowledged_in_order_while_the_stream_is_open(runs: "Runs") -> None:
    run = await running(runs)

    async with asyncio.timeout(SECONDS):
        call = runs.AppendEvents(timeout=SECONDS)
        for number in range(20):
            await call.write(writing(run, number, text(str(number))))
            ack = await call.read()
            assert isinstance(ack, pb.AppendEventsResponse)
            assert (ack.run_id, ack.next_sequence, ack.cancel_requested) == (run.id, number + 1, False)
        await call.done_writing()


async def test_a_repeated_append_is_acknowledged_as_the_first_one_was(runs: "Runs") -> None:
    run = await running(runs)
    request = writing(run, 0, text("once"))
    request.items.append(said("once"))

    (first,) = await appended(runs, [request])
    (again,) = await appended(runs, [request])
    await finished(runs, run, 1)

    assert again == first
    assert len(await watched(runs, run)) == 2


async def test_an_append_with_a_wrong_number_is_told_the_right_one(runs: "Runs") -> None:
    run = await running(runs)

    with pytest.raises(SequenceMismatch) as caught:
        await appended(runs, [writing(run, 0, text("a")), writing(run, 5, text("b"))])

    assert caught.value.facts["expected"] == "1"


async def test_a_refused_write_harms_no_other_of_its_request(runs: "Runs") -> None:
    mine, yours = await running(runs), await running(runs)
    stale = writing(yours, 0, text("late"))
    stale.epoch += 1
    ending = writing(yours, 0, pb.RunEvent(run_finished=SUCCEEDED))
    sent = [
        pb.AppendToRunsRequest(writes=[writing(mine, 0, text("a")), stale, ending]),
        pb.AppendToRunsRequest(writes=[writing(yours, 0, text("b"))]),
    ]

    answers = [each async for each in runs.AppendToRuns(iter(sent), timeout=SECONDS)]

    first, second, third = answers[0].outcomes
    assert first.appended == pb.AppendEventsResponse(run_id=mine.id, next_sequence=1)
    assert (second.refused.reason, second.refused.metadata["epoch"]) == (StaleEpoch.reason, "1")
    assert third.refused.reason == InvalidArgument.reason
    assert answers[1].outcomes[0].appended.next_sequence == 1


async def test_an_event_ends_no_log(runs: "Runs") -> None:
    run = await running(runs)

    with pytest.raises(InvalidArgument) as caught:
        await appended(runs, [writing(run, 0, text("a"), pb.RunEvent(run_finished=SUCCEEDED))])

    assert caught.value.field == "events[1]"


async def test_a_write_can_end_its_run(runs: "Runs", threads: "Threads", clock: FakeClock) -> None:
    run, other = await running(runs, thread_key="discord:1:2"), await running(runs)
    clock.advance(1)
    last = writing(run, 1, text("lo"))
    last.items.append(said("Hello", conversation.ROLE_ASSISTANT))
    last.finished.CopyFrom(SUCCEEDED)
    sent = [pb.AppendToRunsRequest(writes=[writing(run, 0, text("Hel")), writing(other, 0, text("x")), last])]

    first, again = [
        [each async for each in runs.AppendToRuns(iter(requests), timeout=SECONDS)][-1].outcomes[-1].appended
        for requests in (sent, [pb.AppendToRunsRequest(writes=[last])])
    ]

    ended = (await runs.GetRun(pb.GetRunRequest(run_id=run.id), timeout=SECONDS)).run
    assert (ended.state, ended.next_sequence, ended.owner) == (pb.RUN_STATE_SUCCEEDED, 3, "")
    assert first == again == pb.AppendEventsResponse(run_id=run.id, next_sequence=3, finish_time=ended.finish_time)
    assert [event.WhichOneof("event") for event in await watched(runs, run)] == [
        "text_delta", "text_delta", "run_finished",
    ]  # fmt: skip
    listed = await threads.ListItems(threads_pb.ListItemsRequest(thread_id=run.thread_id), timeout=SECONDS)
    assert [item.message.parts[0].text for item in listed.items] == ["hello", "Hello"]
    assert (await running(runs, thread_key="discord:1:2")).thread_id == run.thread_id  # the next one has its turn


async def test_a_run_that_waits_has_no_end(runs: "Runs") -> None:
    run = await running(runs)
    write = writing(run, 0, text("a"))
    write.calls.append(pb.Call(id="c", name="t", arguments_json="{}", state=pb.CALL_STATE_AWAITING_APPROVAL))
    write.finished.CopyFrom(SUCCEEDED)
    request = pb.RequireActionRequest(write=write, actions=[pb.RequiredAction(call_id="c")])
    request.timeout.FromSeconds(60)

    with pytest.raises(InvalidArgument) as caught:
        async with translated("context"):
            await runs.RequireAction(request, timeout=SECONDS)

    assert caught.value.field == "write"
    assert (await runs.GetRun(pb.GetRunRequest(run_id=run.id), timeout=SECONDS)).run.state == pb.RUN_STATE_RUNNING


async def test_an_ended_run_refuses_writes(runs: "Runs") -> None:
    run = await running(runs)
    await finished(runs, run, 0)

    with pytest.raises(RunAlreadyFinished):
        await appended(runs, [writing(run, 1, text("late"))])
