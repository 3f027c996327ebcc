"""One round of tool calls: intents are durable before anything is sent, results before a model reads them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from facade.domain.call_log import CallLog
from facade.domain.events import Run
from facade.domain.ports import NO_APPROVALS, Tools
from threadmesh.errors import (
    Internal,
    InvalidArgument,
    MeshError,
    MethodRefused,
    Overloaded,
    PreconditionFailed,
    StaleEpoch,
    ToolServerUnavailable,
    Unauthenticated,
    Unreachable,
)
from threadmesh.retry import full_jitter

_NEVER_SENT = (Unreachable, InvalidArgument, PreconditionFailed, Overloaded, Unauthenticated, MethodRefused)
"""Errors that say that the calls were not begun."""
_MOST_BREAKS = 3
"""How often a round is asked for again; what breaks more tools services than that is not given to another."""


Reply = Callable[[CallLog], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """For how many seconds a tools service that is gone is waited for: before it was reached, and after."""

    first_seconds: float
    return_seconds: float


async def run_calls(
    log: CallLog,
    tools: Tools,
    run: Run,
    *,
    patience: Patience,
    resumed: bool,
    reply: Reply,
    approvals: Mapping[str, str] = NO_APPROVALS,
) -> None:
    """Make calls in parallel; their results become items of the thread, in the order of the calls.

    Their intents are durable already; `resumed` says that an earlier owner of the run may have sent them. What happens
    is written down as it happens, and the results become items together with the last of them. When the stream breaks,
    the calls are asked for again: the tools service knows them, or decides which of them may be sent once more. If it
    does not come back, those that may have been sent have the outcome UNKNOWN, the others have failed.

    `reply` answers what servers ask, as far as it can; calls for which that is not enough are left asking.
    """
    while log.open:
        await _run_until_asked(log, tools, run, patience=patience, resumed=resumed, approvals=approvals)
        await reply(log)
        resumed = False  # what goes on with answers has not been sent with them


async def _run_until_asked(
    log: CallLog, tools: Tools, run: Run, *, patience: Patience, resumed: bool, approvals: Mapping[str, str]
) -> None:
    trouble = _Trouble(patience, sent=resumed)
    while log.open:
        try:
            calls = log.open
            allowed = {call.id: approvals[call.id] for call in calls if call.id in approvals}
            attached = tools.execute(calls, run=run, resumed=trouble.sent, approvals=allowed, answered=log.answered)
            async with aclosing(attached) as events:
                async for call_id, event in events:
                    trouble.over()
                    await log.take(call_id, event)
            await log.end(Internal("The tools service ended its stream without a result."), sent=trouble.sent)
        except StaleEpoch:
            raise
        except MeshError as error:
            if trouble.bearable(error):
                await asyncio.sleep(full_jitter(trouble.failures))
                continue
            broken = ToolServerUnavailable(error.message, **error.facts) if error.retryable else error
            await log.end(broken, sent=trouble.sent)


class _Trouble:
    """What is wrong between us and the tools service; `sent` says whether the calls may have gone out."""

    def __init__(self, patience: Patience, *, sent: bool) -> None:
        self.sent = sent
        self.failures = 0
        self._patience = patience
        self._breaks = 0
        self._began = 0.0

    def over(self) -> None:
        """Note that the service was heard."""
        self.failures = 0

    def bearable(self, error: MeshError) -> bool:
        """Note an error; says whether to ask again."""
        now = asyncio.get_running_loop().time()
        if self.failures == 0:
            self._began = now
            self._breaks += 1
        self.failures += 1
        self.sent = self.sent or not isinstance(error, _NEVER_SENT)
        seconds = self._patience.return_seconds if self.sent else self._patience.first_seconds
        return error.retryable and self._breaks <= _MOST_BREAKS and now - self._began < seconds
