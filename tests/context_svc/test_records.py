"""What is written into the store can be read back, by a person too."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_svc.adapters import records
from context_svc.domain.run import RunFinished, RunState
from threadmesh.conversation import (
    Approval,
    CallFinished,
    CallOutcome,
    Failure,
    FinishReason,
    Media,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    Usage,
    message,
)
from threadmesh.errors import Code

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Refusal, text=TEXTS),
    st.builds(Reasoning, text=TEXTS),
    st.builds(Media, mime_type=TEXTS, data=st.binary()),
)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(Role),
    parts=st.lists(PARTS, max_size=4).map(tuple),
    tool_calls=st.lists(st.builds(ToolCall, id=TEXTS, name=TEXTS, arguments_json=TEXTS), max_size=3).map(tuple),
    tool_call_id=TEXTS,
    name=TEXTS,
)
FAILURES = st.builds(
    Failure,
    reason=TEXTS,
    code=st.sampled_from(Code),
    message=TEXTS,
    retryable=st.booleans(),
    facts=st.dictionaries(TEXTS, TEXTS, max_size=2),
)
USAGES = st.builds(Usage, prompt_tokens=st.integers(0), completion_tokens=st.integers(0))


@settings(deadline=None)
@given(written=MESSAGES, approval=st.none() | st.builds(Approval, approved=st.none() | st.booleans(), reason=TEXTS))
def test_messages_come_back_as_they_were(written: Message, approval: Approval | None) -> None:
    assert records.load_item(records.dump_item(written, None, approval)) == (written, None, approval)


@settings(deadline=None)
@given(
    finished=st.builds(
        RunFinished,
        state=st.sampled_from(RunState),
        reason=st.none() | st.sampled_from(FinishReason),
        usage=st.none() | USAGES,
        failure=st.none() | FAILURES,
    )
)
def test_ends_of_runs_come_back_as_they_were(finished: RunFinished) -> None:
    assert records.load_run_finished(records.dump_run_finished(finished)) == finished


@settings(deadline=None)
@given(
    finished=st.builds(
        CallFinished,
        outcome=st.sampled_from(CallOutcome),
        parts=st.lists(PARTS, max_size=3).map(tuple),
        structured_json=TEXTS,
        failure=st.none() | FAILURES,
        seconds=st.floats(0, 1e6),
    )
)
def test_ends_of_calls_come_back_as_they_were(finished: CallFinished) -> None:
    assert records.load_call_finished(records.dump_call_finished(finished)) == finished


def test_a_record_is_plain_json() -> None:
    """Version 1 of the format; a change of this line needs version 2 and a migration."""
    assert json.loads(records.dump_item(message(Role.USER, "grüß dich"), None, None)) == {
        "role": "user",
        "parts": [{"text": "grüß dich"}],
    }


@pytest.mark.parametrize("text", ["", "{}", '{"role":"king","parts":[]}', '{"role":"user","parts":[{"smell":"rose"}]}'])
def test_what_is_no_message_is_not_read_as_one(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        records.load_item(text)
