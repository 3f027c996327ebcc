"""How a call has ended can be read from what the model reads of it."""

import pytest

from facade.domain.result_text import read_result, result_text
from threadmesh.conversation import CallFinished, CallOutcome, Failure
from threadmesh.errors import CallDenied

_FAILURE = Failure.of(CallDenied("Not today."))


@pytest.mark.parametrize(
    ("finished", "output", "told"),
    [
        (CallFinished(outcome=CallOutcome.SUCCEEDED), "noon", "noon"),
        (CallFinished(outcome=CallOutcome.SUCCEEDED, structured_json="{}"), "", "{}"),
        (CallFinished(outcome=CallOutcome.FAILED), "no luck", "no luck"),
        (CallFinished(outcome=CallOutcome.FAILED, failure=_FAILURE), "", "Not today."),
        (CallFinished(outcome=CallOutcome.CANCELLED), "", ""),
        (CallFinished(outcome=CallOutcome.DENIED, failure=_FAILURE), "", "Not today."),
        (CallFinished(outcome=CallOutcome.UNKNOWN, failure=_FAILURE), "half", ""),
    ],
)
def test_what_is_read_is_what_was_written(finished: CallFinished, output: str, told: str) -> None:
    assert read_result(result_text(finished, output)) == (finished.outcome, told)
