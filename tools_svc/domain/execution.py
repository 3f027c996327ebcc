"""The life of one call: out, perhaps again, and to exactly one end."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from threadmesh.clock import Clock
from threadmesh.conversation import CallFinished, CallOutcome, ToolCall
from threadmesh.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    MeshError,
    ToolCallNotDone,
)
from tools_svc.domain.broken import broken, interruption, repeatable
from tools_svc.domain.call import Continuation, Invocation
from tools_svc.domain.inquiry import Inquiry
from tools_svc.domain.output import failed, finish
from tools_svc.domain.plan import Planned
from tools_svc.domain.ports import CallLog, ToolSource
from tools_svc.domain.reconcile import Doubt, Reconciler, Verdict
from tools_svc.domain.sending import Sending, left
from tools_svc.domain.verify import Verify, question_seconds

ANSWER_SECONDS = 900.0
"""For how long the answer to what a server asks is waited for, where nothing else is said."""


class Execution:
    """One call that goes out. Everything that happens to it is told to its run's log.

    `run` must be running for anything to happen. A call that reached nobody is tried again, up to the tool's `retries`;
    one whose connection breaks only if its tool may be repeated, so any other is sent at most once. It ends within
    `invocation.timeout_seconds`. `pause` gives the seconds before the next attempt after so many; `on_retry` hears why
    there is one. A call that may have been `sent_before` by a process that is gone goes out as its second attempt.
    `on_accepted` hears of the handle under which the server keeps the call. Where the operator says how, the
    `reconciler` finds out what came of a call of which nobody knows it, in that time; `may_be_asked` says that this
    could be so of another tool's call, if it goes out in the place of this one.

    A call may ask, and then waits for its answers for `answer_seconds`, which are no part of its time; `rounds` of
    questions were answered before it came here.
    """

    def __init__(
        self,
        planned: Planned,
        invocation: Invocation,
        *,
        source: ToolSource,
        log: CallLog,
        clock: Clock,
        pause: Callable[[int], float],
        on_retry: Callable[[MeshError], None],
        on_defect: Callable[[Exception], None],
        reconciler: Reconciler,
        sent_before: bool = False,
        may_be_asked: bool = False,
        on_accepted: Callable[[str], None] = lambda _: None,
        answer_seconds: float = ANSWER_SECONDS,
        rounds: int = 0,
    ) -> None:
        self.followers = 0
        self.finished: CallFinished | None = None
        self.ended = asyncio.Event()
        self._planned = planned
        self._seconds = invocation.timeout_seconds
        asked_about = may_be_asked or planned.entry.tool.verify is not None
        self._question_seconds = question_seconds(self._seconds) if asked_about else 0.0
        bounded = replace(
            invocation,
            timeout_seconds=self._seconds - self._question_seconds,
            given_up=self._given_up if invocation.durable else invocation.given_up,
        )
        self._reconciler = reconciler
        self._log = log
        self._clock = clock
        self._pause = pause
        self._on_retry = on_retry
        self._on_defect = on_defect
        self._stopped = False
        self._abandoned = False
        self._limit: asyncio.Timeout | None = None
        tell = partial(log.append, planned.call.id)
        self._inquiry = Inquiry(tell, tool=planned.entry.tool.name, seconds=answer_seconds, before=rounds)
        self._sending = Sending(
            planned,
            bounded,
            source=source,
            log=log,
            inquiry=self._inquiry,
            on_accepted=on_accepted,
            doubt=reconciler.doubt,
            sent_before=sent_before,
        )

    @property
    def call(self) -> ToolCall:
        """The call as the model wrote it."""
        return self._planned.call

    @property
    def tool(self) -> str:
        """The tool's name in the catalogue."""
        return self._planned.entry.tool.name

    @property
    def sent(self) -> bool:
        """Whether it may have gone out."""
        return self._sending.sent

    @property
    def abandoned(self) -> bool:
        """Whether it was stopped because nobody listened."""
        return self._abandoned

    @property
    def renewable(self) -> bool:
        """Whether its end is nobody's answer: nobody listened, and it cannot have changed anything."""
        return self._abandoned and self._changed_nothing and not self._succeeded

    @property
    def _changed_nothing(self) -> bool:
        return not self._sending.sent or self._planned.entry.tool.effect.harmless

    @property
    def _succeeded(self) -> bool:
        return self.finished is not None and self.finished.outcome is CallOutcome.SUCCEEDED

    def abandon(self) -> None:
        """Stop it, as nobody listens any more, unless it may have changed something or waits for answers."""
        if self.finished is None and not self._stopped and self._changed_nothing and not self._inquiry.waiting:
            self._abandoned = True
            self.cancel()

    def answer(self, continuation: Continuation) -> bool:
        """Go on with the answers to what the server asks; False if it does not ask that, or not any more."""
        return self._inquiry.answer(continuation)

    def cancel(self) -> bool:
        """Stop the call as well as its tool allows; False when it had ended before."""
        if self.finished is not None or self._stopped:
            return self.finished is None
        self._stopped = True
        self._inquiry.close()
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        return True

    def forsake(self) -> bool:
        """Have nobody answer any more: stop the call if it waits for that, or once it asks; False when it goes on."""
        waits = self._inquiry.waiting and not self._stopped
        self._inquiry.close()
        return waits

    async def run(self) -> CallFinished:
        """Carry the call to its end and give it."""
        began = self._clock.monotonic()
        try:
            finished = await self._settled()
        except Exception as error:  # noqa: BLE001  # a defect in one call must not end its siblings
            self._on_defect(error)
            finished = self._broken(Internal())
        self.finished = replace(finished, seconds=self._clock.monotonic() - began)
        self._log.append(self.call.id, self.finished)
        self.ended.set()
        return self.finished

    async def _settled(self) -> CallFinished:
        """Carry the call to an end that somebody knows, if anybody can tell; once more at most if it was not done."""
        ends = asyncio.get_running_loop().time() + self._seconds
        finished, again = self._planned.lost or await self._limited(), True
        while doubts := self._doubted(finished):
            verdict = await self._verdict(doubts, ends)
            if verdict is None:
                break
            if verdict.done:
                return verdict.finished()
            if finished.failure and finished.failure.reason == DeadlineExceeded.reason:
                break  # the server may still be at work on it
            if not again or self._stopped or not self._may_go_again(verdict.verify):
                return failed(ToolCallNotDone(verified_by=verdict.verify.tool))
            self._sending.forget()
            again = False
            finished = await self._limited(ends)
        return finished

    def _doubted(self, finished: CallFinished) -> list[Doubt]:
        """Say how to find out what came of the call, if that can be and nobody knows; what was stopped stays so."""
        if self._inquiry.closed or finished.outcome is not CallOutcome.UNKNOWN:
            return []
        doubts = self._sending.doubts()
        return doubts if any(doubt.verify for doubt in doubts) else []

    async def _verdict(self, doubts: Sequence[Doubt], ends: float) -> Verdict | None:
        try:
            async with asyncio.timeout_at(ends + self._inquiry.waited) as self._limit:
                return await self._reconciler.verdict(doubts)
        except TimeoutError:
            return None

    def _may_go_again(self, verify: Verify) -> bool:
        keyed = bool(self._sending.invocation.idempotency_key)
        return verify.again or self._planned.entry.tool.effect.repeatable_by(keyed=keyed)

    async def _limited(self, ends: float = math.inf) -> CallFinished:
        """Send the call, in its time and not beyond `ends` less the time to ask what came of it."""
        if self._stopped:
            return self._broken(Cancelled())
        last = asyncio.get_running_loop().time() + self._sending.invocation.timeout_seconds
        kept = self._question_seconds - self._inquiry.waited
        try:
            async with asyncio.timeout_at(min(last, ends - kept)) as self._limit:
                return await self._tried(self._limit)
        except TimeoutError:
            unsent = self._sending.waiting and not self._sending.sent
            seconds = self._sending.invocation.timeout_seconds
            return self._broken(interruption(seconds=seconds, stopped=self._stopped, unsent=unsent))

    async def _tried(self, limit: asyncio.Timeout) -> CallFinished:
        attempt = 1
        while True:
            try:
                output = await self._sending.attempt(attempt, limit)
                return finish(output, self._planned.entry.output)
            except MeshError as error:
                pause, retries = self._pause(attempt), self._planned.entry.tool.retries
                if attempt > retries or not self._repeatable(error) or pause >= left(limit):
                    return self._broken(error)
                self._on_retry(error)
            await asyncio.sleep(pause)
            attempt += 1

    def _repeatable(self, error: MeshError) -> bool:
        return repeatable(error, self._planned.entry.tool.effect, keyed=bool(self._sending.invocation.idempotency_key))

    def _given_up(self) -> bool:
        return self._stopped or left(self._limit) <= 0

    def _broken(self, error: MeshError) -> CallFinished:
        return broken(error, self._planned.entry.tool.effect, sent=self._sending.sent)
