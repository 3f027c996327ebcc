"""Decides for each call of a batch whether it goes out; a call that may not is answered without asking its server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from threadmesh.conversation import CallFinished, CallOutcome, ToolCall
from threadmesh.errors import (
    Aborted,
    DefinitionDiffers,
    InvalidArgument,
    InvalidToolArguments,
    MeshError,
    ToolNeedsApproval,
)
from tools_svc.domain.arguments import parse_arguments
from tools_svc.domain.catalog import Catalogue, Entry
from tools_svc.domain.output import failed
from tools_svc.domain.tool import ApprovalRule, Tool

NO_APPROVALS: Mapping[str, str] = MappingProxyType({})
_LOST = "The process that made this call is gone and left no result."


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A call that goes out. With `lost` it went out before and ends so, unless its server says what came of it."""

    call: ToolCall
    entry: Entry
    arguments: dict[str, Any]
    lost: CallFinished | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call that has ended before it began; its result tells the model what to do better."""

    call: ToolCall
    finished: CallFinished


def plan(
    calls: Sequence[ToolCall],
    catalogue: Catalogue,
    *,
    approvals: Mapping[str, str] = NO_APPROVALS,
    trusted_context: bool = False,
) -> list[Planned | Refused]:
    """Plan each call, in order; raises `InvalidArgument` when two calls share an id.

    `approvals` are the hashes of definitions that persons have approved, by the calls' ids. With a `trusted_context`,
    whoever asks for the calls had read no untrusted results.
    """
    seen: set[str] = set()
    for index, call in enumerate(calls):
        if call.id in seen:
            raise InvalidArgument("Two calls of one batch have the same id.", field=f"calls[{index}].id")
        seen.add(call.id)
    return [_plan(call, catalogue, approvals.get(call.id, ""), trusted_context=trusted_context) for call in calls]


def resumed(planned: Planned | Refused, *, keyed: bool) -> Planned | Refused:
    """Decide the same for a call that may have been sent before; `keyed` says that a server could know it again.

    It goes out once more only if its tool may be repeated. Otherwise its server is asked what came of it, if the
    operator says how, or nobody knows how it ended, also when its tool is gone, or needs an approval, by now; only
    arguments that do not fit were never sent.
    """
    match planned:
        case Planned(call=call, entry=entry) as planned if not entry.tool.effect.repeatable_by(keyed=keyed):
            lost = failed(Aborted(_LOST), CallOutcome.UNKNOWN)
            return replace(planned, lost=lost) if entry.tool.verify else Refused(call=call, finished=lost)
        case Refused(call=call, finished=finished) if not _was_never_sent(finished):
            return Refused(call=call, finished=replace(finished, outcome=CallOutcome.UNKNOWN))
        case _:
            return planned


def _was_never_sent(finished: CallFinished) -> bool:
    return finished.failure is not None and finished.failure.reason == InvalidToolArguments.reason


def _check_approved(tool: Tool, approved_hash: str, *, trusted_context: bool) -> None:
    if not tool.requires_approval or approved_hash == tool.definition_hash:
        return
    sometimes = tool.approval is ApprovalRule.AFTER_UNTRUSTED
    if sometimes and trusted_context:
        return
    if not approved_hash:
        unless = ", or for a model that has read no untrusted result" if sometimes else ""
        raise ToolNeedsApproval(
            f"{tool.name} is called only when a person approves{unless}. Within a run a person is asked, and answers "
            "with: threadmesh calls approve RUN CALL",
            tool=tool.name,
        )
    raise DefinitionDiffers("The tool's definition is another one than a person approved.", tool=tool.name)


def _plan(call: ToolCall, catalogue: Catalogue, approved_hash: str, *, trusted_context: bool) -> Planned | Refused:
    try:
        entry = catalogue.find(call.name)
        arguments = parse_arguments(call.arguments_json)
        if complaint := entry.arguments.complaint(arguments):
            raise InvalidToolArguments(f"The arguments do not fit the tool's schema; {complaint}.")
        _check_approved(entry.tool, approved_hash, trusted_context=trusted_context)
    except (ToolNeedsApproval, DefinitionDiffers) as error:
        return Refused(call=call, finished=failed(error, CallOutcome.DENIED))
    except MeshError as error:
        return Refused(call=call, finished=failed(error))
    return Planned(call=call, entry=entry, arguments=arguments)
