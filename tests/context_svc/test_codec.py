"""Protobuf to values and back."""

from datetime import UTC, datetime

import pytest

from context_svc.domain.item import ItemKind, ItemStatus, Provenance
from context_svc.domain.ports import Cursor
from context_svc.domain.run import Event, Multitask, Run, RunFinished, RunState
from context_svc.edge.runs_codec import (
    decode_append,
    decode_finish,
    decode_start,
    decode_states,
    digest,
    duration,
    encode_event,
    encode_run,
)
from context_svc.edge.threads_codec import decode_new_item, decode_page_token, encode_page_token
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.conversation import Failure, FinishReason, Usage
from threadmesh.errors import InvalidArgument, ToolNotFound

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
USER = conversation.Message(role=conversation.ROLE_USER, parts=[conversation.Part(text="hello")])


def test_what_a_new_item_does_not_say_follows_from_its_message() -> None:
    asking = conversation.Message(
        role=conversation.ROLE_ASSISTANT, tool_calls=[conversation.ToolCall(id="c", name="t", arguments_json="{}")]
    )
    answered = conversation.Message(role=conversation.ROLE_TOOL, tool_call_id="c")

    kinds = [decode_new_item(threads.NewItem(message=each)) for each in (USER, asking, answered)]

    assert [(each.kind, each.provenance, each.status) for each in kinds] == [
        (ItemKind.MESSAGE, Provenance.USER, ItemStatus.COMPLETED),
        (ItemKind.TOOL_CALLS, Provenance.MODEL, ItemStatus.COMPLETED),
        (ItemKind.TOOL_RESULT, Provenance.TOOL, ItemStatus.COMPLETED),
    ]


def test_what_a_new_item_says_is_kept() -> None:
    item = decode_new_item(
        threads.NewItem(
            message=USER,
            kind=threads.ITEM_KIND_SUMMARY,
            provenance=threads.PROVENANCE_IMPORTED,
            status=threads.ITEM_STATUS_INCOMPLETE,
            tokens=3,
        )
    )

    assert (item.kind, item.provenance, item.status, item.tokens) == (
        ItemKind.SUMMARY, Provenance.IMPORTED, ItemStatus.INCOMPLETE, 3,
    )  # fmt: skip


def test_a_start_without_options_waits_its_turn_for_ten_minutes() -> None:
    request = decode_start(pb.StartRunRequest(input=[threads.NewItem(message=USER)]))

    assert (request.multitask, request.timeout) == (Multitask.ENQUEUE, 600.0)
    assert (request.thread_id, request.thread_key, request.idempotency_key) == ("", "", "")


def test_a_start_keeps_its_options() -> None:
    wire = pb.StartRunRequest(
        input=[threads.NewItem(message=USER)],
        thread_id="t",
        multitask=pb.MULTITASK_INTERRUPT,
        timeout=duration(1.5),
        parameters_json="{}",
        idempotency_key="k",
        fingerprint="f",
        instead_of="r",
    )

    request = decode_start(wire)

    assert (request.thread_id, request.multitask, request.timeout) == ("t", Multitask.INTERRUPT, 1.5)
    assert (request.parameters_json, request.idempotency_key, request.fingerprint) == ("{}", "k", "f")
    assert request.instead_of == "r"


def test_events_are_numbered_and_dated_by_the_log_and_not_by_their_sender() -> None:
    sent = pb.RunEvent(sequence=99, round=2, call_id="c", text_delta=events.TextDelta(text="hi", token_ids=[1, 2]))
    sent.create_time.FromSeconds(1)
    write = decode_append(pb.AppendEventsRequest(run_id="r", epoch=1, first_sequence=7, events=[sent]))

    event = encode_event(Event(sequence=7, create_time=NOW, body=write.bodies[0]))

    assert (event.sequence, event.create_time.ToDatetime(UTC)) == (7, NOW)
    assert (event.round, event.call_id, event.text_delta) == (2, "c", sent.text_delta)


def test_a_field_of_a_newer_facade_survives_the_log() -> None:
    unknown = pb.RunEvent.FromString(b"\xfa\x3f\x03new")  # field 1023

    write = decode_append(pb.AppendEventsRequest(run_id="r", events=[unknown]))

    assert write.bodies == (b"\xfa\x3f\x03new",)
    event = encode_event(Event(sequence=0, create_time=NOW, body=write.bodies[0]))
    assert b"\xfa\x3f\x03new" in event.SerializeToString()


def test_an_event_too_large_to_be_watched_is_refused() -> None:
    large = pb.RunEvent(text_delta=events.TextDelta(text="x" * (3 << 20)))

    with pytest.raises(InvalidArgument) as caught:
        decode_append(pb.AppendEventsRequest(run_id="r", events=[large]))

    assert caught.value.field == "events[0]"


def test_equal_requests_have_equal_digests_and_others_have_not() -> None:
    one = pb.AppendEventsRequest(run_id="r", epoch=1)
    finish = pb.FinishRunRequest(run_id="r", epoch=1)

    assert digest(one) == digest(pb.AppendEventsRequest(run_id="r", epoch=1))
    assert len({digest(one), digest(pb.AppendEventsRequest(run_id="r", epoch=2)), digest(finish)}) == 3


@pytest.mark.parametrize(
    "finished",
    [
        RunFinished(state=RunState.CANCELLED),
        RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.LENGTH, usage=Usage(prompt_tokens=3)),
        RunFinished(state=RunState.FAILED, failure=Failure.of(ToolNotFound(tool="t"))),
    ],
)
def test_the_end_of_a_run_comes_back_as_it_was_given(finished: RunFinished) -> None:
    wire = encode_event(Event(sequence=3, create_time=NOW, body=finished)).run_finished

    assert decode_finish(pb.FinishRunRequest(run_id="r", finished=wire)).finished == finished
    assert decode_append(pb.AppendEventsRequest(run_id="r", finished=wire)).finished == finished


def test_a_run_shows_how_it_ended() -> None:
    run = Run(
        id="r",
        thread_id="t",
        number=0,
        state=RunState.RUNNING,
        create_time=NOW,
        deadline=NOW,
        expires=0,
        lease_until=1,
        epoch=2,
        owner="f",
        next_sequence=5,
    )
    ended = encode_run(run.ended(RunFinished(state=RunState.CANCELLED), NOW))

    assert not encode_run(run).HasField("finished")
    assert (ended.state, ended.finished.state) == (pb.RUN_STATE_CANCELLED, pb.RUN_STATE_CANCELLED)
    assert (ended.next_sequence, ended.owner, ended.finish_time.ToDatetime(UTC)) == (6, "", NOW)


def test_an_unknown_state_is_not_a_filter() -> None:
    assert decode_states([pb.RUN_STATE_QUEUED]) == (RunState.QUEUED,)
    for unknown in (0, 99):
        with pytest.raises(InvalidArgument):
            decode_states([unknown])


def test_a_page_token_leads_to_its_place() -> None:
    assert decode_page_token(encode_page_token(NOW, "thread_1")) == Cursor(time=NOW, id="thread_1")
    assert decode_page_token("") is None
