"""Takes a person's word about a tool call: whether it may be sent, or how one ended of which nobody knew."""

from dataclasses import dataclass, replace
from functools import partial

from context_svc.domain.action import Action, Decision, Resolution
from context_svc.domain.call import Call
from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.go_on import call_of, gone_on
from context_svc.domain.item import Item
from context_svc.domain.ports import Store
from context_svc.domain.release import released
from context_svc.domain.run import Run, RunState
from context_svc.domain.tokens import estimated_tokens
from threadmesh.conversation import CallOutcome, Part, Role, Text, arguments_hash
from threadmesh.errors import (
    ArgumentsDiffer,
    CallAlreadyDecided,
    CallNotWaiting,
    DefinitionDiffers,
    InvalidArgument,
)

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person says; the hashes are of the tool and of the arguments as the person saw them.

    A `request_id` tells a repeated word from another one. Each is empty if that does not matter.
    """

    resolution: Resolution
    reason: str = ""
    parts: tuple[Part, ...] = ()
    definition_hash: str = ""
    arguments_hash: str = ""
    request_id: str = ""


async def decide_call(run_id: str, call_id: str, word: Word, *, store: Store) -> tuple[Run, Call]:
    """Note what a person says of a call; gives the run after it, and the call. The same word again changes nothing.

    Of words with ids, only one with the same id is the same.
    Once every call has its word, the run can be gone on with. Of a call whose outcome was unknown, the thread says from
    then on what the person says. Raises `RunNotFound`, `CallNotFound`, `CallNotWaiting` also when it is too late,
    `CallAlreadyDecided`, `DefinitionDiffers`, `ArgumentsDiffer`, and `InvalidArgument` for a result where none belongs.
    """
    if word.parts and word.resolution.permits:
        raise InvalidArgument("Only a call that has ended has a result.", field="parts")
    call = await call_of(run_id, call_id, store)
    if word.arguments_hash not in {"", present := arguments_hash(call.arguments_json)}:
        raise ArgumentsDiffer(present_hash=present)
    if word.resolution.permits:
        return await store.change(Scope(run_id=run_id), partial(_permit, call, word)), call
    if call.finished is None or call.finished.outcome is not CallOutcome.UNKNOWN:
        raise CallNotWaiting("Only a call whose outcome is unknown can be settled.", call=call_id)
    result = await _result(await store.run(run_id), call_id, store)
    return await store.change(Scope(run_id=run_id), partial(_settle, call, word, result)), call


def _permit(call: Call, word: Word, state: State) -> tuple[Change, Run]:
    run = state.existing_run()
    asked = next((each for each in run.actions if each.call_id == call.id and each.asks_permission), None)
    if asked is None:
        raise CallNotWaiting(call=call.id)
    if _said(asked, word):
        return NOTHING, run
    if run.state is not RunState.REQUIRES_ACTION or state.now.steady >= run.lease_until:
        raise CallNotWaiting("It is too late: the run has gone on without an answer.", call=call.id)
    if word.definition_hash not in {"", asked.definition_hash}:
        raise DefinitionDiffers(present_hash=asked.definition_hash)
    after = gone_on(run, asked, _decision(word, state), state)
    return Change(thread=released(state, after), runs=(after,)), after


def _settle(call: Call, word: Word, result: Item | None, state: State) -> tuple[Change, Run]:
    run = state.existing_run()
    before = next((each for each in run.actions if each.call_id == call.id and _settles(each)), None)
    if before is not None and _said(before, word):
        return NOTHING, run
    settled = Action(call_id=call.id, decision=_decision(word, state))
    after = replace(run, actions=(*run.actions, settled))
    amended = (_amended(result, word),) if result else ()
    return Change(thread=released(state, after), runs=(after,), amended=amended), after


def _settles(action: Action) -> bool:
    return action.asked is None and not action.asks_permission


def _said(action: Action, word: Word) -> bool:
    """Whether this was said before; raises `CallAlreadyDecided` when something else was."""
    if action.decision is None:
        return False
    another = word.request_id and action.decision.request_id not in {"", word.request_id}
    if another or (action.decision.resolution, action.decision.parts) != (word.resolution, word.parts):
        raise CallAlreadyDecided(call=action.call_id, resolution=action.decision.resolution.value)
    return True


def _decision(word: Word, state: State) -> Decision:
    return Decision(
        resolution=word.resolution,
        time=state.now.time,
        reason=word.reason,
        parts=word.parts,
        request_id=word.request_id,
    )


async def _result(run: Run, call_id: str, store: Store) -> Item | None:
    """Find the item that gives the model the call's result; None if it was pruned."""
    after = run.first_item - 1 if run.first_item else None
    while page := await store.items(run.thread_id, after=after, limit=_PAGE, descending=False):
        for item in page:
            if item.run_id == run.id and item.message.role is Role.TOOL and item.message.tool_call_id == call_id:
                return item
        after = page[-1].sequence
    return None


def _amended(item: Item, word: Word) -> Item:
    message = replace(item.message, parts=word.parts or (Text(text=_told(word)),))
    return replace(item, message=message, tokens=estimated_tokens(message))


def _told(word: Word) -> str:
    found = "took effect" if word.resolution is Resolution.SUCCEEDED else "had no effect"
    return f"A person has found out that this call {found}. {word.reason}".strip()
