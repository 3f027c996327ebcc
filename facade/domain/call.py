"""One round of tool calls: intents are durable before anything is sent, results before a model reads them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from facade.domain.call_log import CallLog
from facade.domain.events import Run
from facade.domain.ports import NO_APPROVALS, Tools
from threadmesh.conversation import CallFinished, ToolCall
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
from threadmesh.questions import InputRequired
from threadmesh.retry import may_repeat
from threadmesh.retry_budget import RetryBudget

_NEVER_SENT = (Unreachable, InvalidArgument, PreconditionFailed, Overloaded, Unauthenticated, MethodRefused)
"""Errors that say that the calls were not begun."""
_MOST_BREAKS = 3
"""How often a round is asked for again; what breaks more tools services than that is not given to another."""


Reply = Callable[[CallLog, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """For how many seconds a tools service that is gone is waited for: before it was reached, and after.

    All who wait ask again as the `budget` lets them.
    """

    first_seconds: float
    return_seconds: float
    budget: RetryBudget


async def run_calls(
    log: CallLog,
    tools: Tools,
    run: Run,
    *,
    patience: Patience,
    resumed: bool,
    reply: Reply,
    approvals: Mapping[str, str] = NO_APPROVALS,
    trusted_context: bool = False,
) -> None:
    """Make calls in parallel; their results become items of the thread, in the order of the calls.

    Their intents are durable already; `resumed` says that an earlier owner of the run may have sent them. What happens
    is written down as it happens, and the results become items together with the last of them. When the stream breaks,
    the calls are asked for again: the tools service knows them, or decides which of them may be sent once more. If it
    does not come back, those that may have been sent have the outcome UNKNOWN, the others have failed. Calls that need
    approval are made only with one, some of them also for a model with a `trusted_context`.

    `reply` answers what the server of a call asks, as far as it can; calls for which that is not enough are left
    asking. The others go on meanwhile, and so does each call as soon as it has its answers.
    """
    try:
        async with asyncio.TaskGroup() as group:
            permission = _Permission(approvals, trusted_context=trusted_context)
            carrier = _Carrier(log, tools, run, patience=patience, reply=reply, permission=permission, group=group)
            group.create_task(carrier.carry(log.open, resumed=resumed))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


class _Permission:
    """Why calls may be made that need approval: the hashes that persons approved, and what the model had read."""

    def __init__(self, approvals: Mapping[str, str], *, trusted_context: bool) -> None:
        self._approvals = approvals
        self.trusted_context = trusted_context

    def of(self, calls: Iterable[str]) -> dict[str, str]:
        """Give the approvals of these calls."""
        return {call_id: self._approvals[call_id] for call_id in calls if call_id in self._approvals}


class _Carrier:
    """Carries calls to their ends, those that ask each by itself from then on."""

    def __init__(
        self,
        log: CallLog,
        tools: Tools,
        run: Run,
        *,
        patience: Patience,
        reply: Reply,
        permission: "_Permission",
        group: asyncio.TaskGroup,
    ) -> None:
        self._log, self._tools, self._run = log, tools, run
        self._patience, self._reply, self._permission = patience, reply, permission
        self._group = group

    async def carry(self, calls: Sequence[ToolCall], *, resumed: bool) -> None:
        """Carry calls until each has ended or asks."""
        goes_on = any(call.id in self._log.answered for call in calls)
        trouble = _Trouble(self._patience, sent=resumed, known=goes_on)
        left = {call.id: call for call in calls}
        while left:
            try:
                await self._follow(left, trouble)
                error: MeshError = Internal("The tools service ended its stream without a result.")
            except StaleEpoch:
                raise
            except MeshError as broken:
                if await trouble.passes(broken):
                    continue
                error = ToolServerUnavailable(broken.message, **broken.facts) if broken.retryable else broken
            await self._log.end(left, error, sent=trouble.sent)
            return

    async def _follow(self, left: dict[str, ToolCall], trouble: "_Trouble") -> None:
        """Follow the calls that are left, and take those out that have ended or ask."""
        attached = self._tools.execute(
            list(left.values()),
            run=self._run,
            resumed=trouble.sent,
            approvals=self._permission.of(left),
            answered=self._log.answered,
            trusted_context=self._permission.trusted_context,
        )
        async with aclosing(attached) as events:
            async for call_id, event in events:
                trouble.heard()
                await self._log.take(call_id, event)
                if call_id in left and isinstance(event, InputRequired | CallFinished):
                    call = left.pop(call_id)
                    if isinstance(event, InputRequired):
                        self._group.create_task(self._go_on(call))

    async def _go_on(self, call: ToolCall) -> None:
        await self._reply(self._log, call.id)
        if call.id not in self._log.asking:
            await self.carry([call], resumed=False)  # with its answers it has not been sent


class _Trouble:
    """What is wrong between us and the tools service; `sent` says whether the calls may have gone out.

    That they have gone out before is `known` of those that go on with answers.
    """

    def __init__(self, patience: Patience, *, sent: bool, known: bool) -> None:
        self.sent = sent
        self._known = known
        self._patience = patience
        self._budget = patience.budget
        self._failures = 0
        self._breaks = 0
        self._began = 0.0
        self._budget.asked += 1
        self._heard = False

    def heard(self) -> None:
        """Note that the service was heard."""
        self._failures = 0
        if not self._heard:
            self._heard = True
            self._budget.answered()

    async def passes(self, error: MeshError) -> bool:
        """Note an error, and wait until it is time to ask again; False if that is not to be."""
        if self._failures == 0:
            self._began = self._budget.now()
            self._breaks += 1
        self._failures += 1
        self._heard = False
        self.sent = self.sent or not isinstance(error, _NEVER_SENT)
        if not error.retryable:
            self._budget.answered()
            return False
        self._budget.failed()
        reached = self.sent or self._known
        seconds = self._patience.return_seconds if reached else self._patience.first_seconds
        ends = self._began + seconds
        return self._breaks <= _MOST_BREAKS and await may_repeat(self._budget, failures=self._failures, ends=ends)
