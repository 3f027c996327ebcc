"""The ids of responses and items. They hold what an id alone needs to find what it names.

An item has one id wherever it is seen: in a stream before its thread knows it, in the response, in the input of later
ones, and in the conversation. It names the entry that it is a part of, and has a mark of the call where there are
several. An entry is named by the run that wrote it, or by itself where none did, and by its number in the thread, which
is known before the entry is; one that a run was asked with, by its place in the run's input (`i0`), since it can wait
for its turn without a number.
"""

import hashlib
import re
from dataclasses import dataclass

from facade.domain.events import Run
from facade.domain.records import Said

_RESPONSE = re.compile(r"resp_([0-9A-Za-z]{1,64})(?:-(0|[1-9][0-9]{0,15}))?")
_NUMBER = "(i?)(0|[1-9][0-9]{0,17})"
_ITEM = re.compile(rf"(rs|msg|fc|fco|mcp)_([0-9A-Za-z]{{1,64}})_{_NUMBER}(?:_([0-9a-f]{{8}}))?")
_APPROVAL = re.compile(rf"(mcpr|mcpa)_([0-9A-Za-z]{{1,64}})(?:_{_NUMBER})?-(.{{1,256}})", re.DOTALL)
_LISTED = re.compile(r"mcpl_[0-9A-Za-z]{1,64}_[0-9]{1,4}")
_SEPARATOR = "__"
"""Stands between a server's name and its tool's."""
FROM_THE_BEGINNING = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a run that is a response: what stands in its log behind the event `after`.

    A run that waits for a person's approval ends one response and, once that is given, begins another. The one before
    it begins `behind` that event; None where there is none, or where that is not known.
    """

    run_id: str
    after: int = FROM_THE_BEGINNING
    behind: int | None = None


def response_id(run: Run, after: int = FROM_THE_BEGINNING) -> str:
    """Give the id of a response."""
    return f"resp_{_suffix(run)}" + (f"-{after}" if after >= 0 else "")


def read_response_id(response: str) -> Part | None:
    """Read which part of a run a response is; None for what is no response's id."""
    found = _RESPONSE.fullmatch(response)
    return found and Part(run_id=f"run_{found[1]}", after=int(found[2] or FROM_THE_BEGINNING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an item stands: in the entry of this number, written by the `owner`, a run or nobody but the entry itself.

    An entry `of_input` is numbered within the input of the run. `call` tells the calls of an entry apart: by a mark,
    or, of an approval, by its id.
    """

    kind: str
    owner: str
    number: int
    of_input: bool = False
    call: str = ""

    @property
    def run_id(self) -> str:
        """The id that the owner has if it is a run."""
        return f"run_{self.owner}"


def entry_name(said: Said) -> str:
    """Give what the ids of the items of an entry have in common."""
    number = said.sequence if said.place is None else f"i{said.place}"
    return f"{_bare(said.run_id or said.id)}_{number}"


def answer_name(run: Run, sequence: int) -> str:
    """Give the same of an entry that a run writes, by its number in the thread."""
    return f"{_suffix(run)}_{sequence}"


def item_id(kind: str, entry: str, call_id: str = "") -> str:
    """Give the id of an item of a kind such as `msg`, in the entry of a name."""
    return f"{kind}_{entry}" + (f"_{mark(call_id)}" if call_id else "")


def read_item_id(item: str) -> Place | None:
    """Read where an item stands; None for what is no id of an item of a thread."""
    found = _ITEM.fullmatch(item) or _APPROVAL.fullmatch(item)
    kind, owner, of_input, number, call = found.groups(default="") if found else ("",) * 5
    if not number:
        return None
    return Place(kind=kind, owner=owner, number=int(number), of_input=bool(of_input), call=call)


def mark(call_id: str) -> str:
    """Tell the calls of a message apart, whichever of them are deleted."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:8]


def approval_id(entry: str, call_id: str) -> str:
    """Give the id of the question whether a call may be made that the entry of a name asks for."""
    return f"mcpr_{entry}-{call_id}"


def read_approval_id(approval: str) -> tuple[str, str] | None:
    """Read which run's call a question is about: the ids of both; None for what is no question's id."""
    found = _APPROVAL.fullmatch(approval)
    return (f"run_{found[2]}", found[5]) if found and found[1] == "mcpr" else None


def listed_id(run: Run, index: int) -> str:
    """Give the id of a list of tools by its place in the output."""
    return f"mcpl_{_suffix(run)}_{index}"


def is_listed_id(item: str) -> bool:
    """Say whether an item is a list of tools. Nobody has said that, so it stands in no thread."""
    return _LISTED.fullmatch(item) is not None


def split_tool(name: str) -> tuple[str, str]:
    """Give the server of a tool that models know by this name, and the server's own name for it."""
    server, _, tool = name.partition(_SEPARATOR)
    return server, tool


def joined_tool(server: str, tool: str) -> str:
    """Give the name by which models know a server's tool."""
    return f"{server}{_SEPARATOR}{tool}"


def _suffix(run: Run) -> str:
    return _bare(run.id)


def _bare(name: str) -> str:
    """Leave out what kind of thing an id names."""
    return name.partition("_")[2]
