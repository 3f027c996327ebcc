"""What tool servers ask persons: a round with such a question waits as a whole, and then goes on as a whole."""

from collections.abc import Mapping
from dataclasses import replace

from facade.domain.call_log import CallLog
from facade.domain.journal import Journal
from facade.domain.records import CallRecord, CallState
from threadmesh.questions import CallAwaitingInput, InputRequired


async def ask_input(log: CallLog, journal: Journal, *, in_round: int, seconds: float) -> None:
    """Ask persons what is open, and give the run up to whoever goes on with it when that is answered."""
    for call_id, required in log.asking.items():
        question = CallAwaitingInput(
            name=required.name,
            server=required.server,
            questions=required.open,
            seconds=seconds,
            round=required.round,
        )
        await journal.emit(question, in_round=in_round, call_id=call_id)
    asked = _records(log, log.asking)
    await journal.require_action(asked, items=(), calls=asked, seconds=seconds)


def _records(log: CallLog, asking: Mapping[str, InputRequired]) -> list[CallRecord]:
    """Give the calls that wait, with what persons are asked: what models have answered is no question any more."""
    return [
        replace(
            log.record(call_id),
            state=CallState.AWAITING_INPUT,
            asked=replace(required, questions=required.open),
            answers=(),
        )
        for call_id, required in asking.items()
    ]
