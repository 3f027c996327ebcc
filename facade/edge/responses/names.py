"""The ids of responses and their items. They hold the run's, so that an id alone finds what it names."""

import re
from dataclasses import dataclass

from facade.domain.events import Run

_RESPONSE = re.compile(r"resp_([0-9A-Za-z]{1,64})(?:-(0|[1-9][0-9]{0,15}))?")
_APPROVAL = re.compile(r"mcpr_([0-9A-Za-z]{1,64})-(.{1,256})")
FROM_THE_BEGINNING = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a run that is a response: what stands in its log behind the event `after`.

    A run that waits for a person's approval ends one response and, once that is given, begins another.
    """

    run_id: str
    after: int = FROM_THE_BEGINNING


def response_id(run: Run, after: int = FROM_THE_BEGINNING) -> str:
    """Give the id of a response."""
    return f"resp_{_suffix(run)}" + (f"-{after}" if after >= 0 else "")


def read_response_id(response: str) -> Part | None:
    """Read which part of a run a response is; None for what is no response's id."""
    found = _RESPONSE.fullmatch(response)
    return found and Part(run_id=f"run_{found[1]}", after=int(found[2] or FROM_THE_BEGINNING))


def item_id(kind: str, run: Run, index: int, after: int = FROM_THE_BEGINNING) -> str:
    """Give the id of a response's item of a kind such as `msg`, by its place in the output."""
    return f"{kind}_{_suffix(run)}_" + (f"{after}_" if after >= 0 else "") + str(index)


def approval_id(run: Run, call_id: str) -> str:
    """Give the id of the question whether a call may be made."""
    return f"mcpr_{_suffix(run)}-{call_id}"


def read_approval_id(approval: str) -> tuple[str, str] | None:
    """Read which run's call a question is about: the ids of both; None for what is no question's id."""
    found = _APPROVAL.fullmatch(approval)
    return found and (f"run_{found[1]}", found[2])


def _suffix(run: Run) -> str:
    return run.id.removeprefix("run_")
