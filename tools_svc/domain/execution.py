"""The life of one call: out, perhaps again, and to exactly one end."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from threadmesh.clock import Clock
from threadmesh.conversation import CallFinished, CallOutcome, CallProgress, CallStarted, Text, ToolCall
from threadmesh.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    MeshError,
    ToolAnswerUnreadable,
    ToolCallNotDone,
    ToolConnectionLost,
    ToolServerFailed,
    ToolServerResting,
    ToolServerUnavailable,
)
from tools_svc.domain.call import Accepted, Invocation, Sent, ToolOutput, Waiting
from tools_svc.domain.output import failed, finish
from tools_svc.domain.plan import Planned
from tools_svc.domain.ports import CallLog, ToolSource
from tools_svc.domain.reconcile import Doubt, Reconciler, Verdict
from tools_svc.domain.verify import Verify

_UNANSWERED = (ToolConnectionLost, ToolAnswerUnreadable, DeadlineExceeded, Cancelled, Internal)
"""Errors that leave open what a call that was sent has done."""

_QUESTION_SHARE, _QUESTION_SECONDS = 0.2, 5.0
"""The share of a call's time, and the most of it, that is kept to ask what came of it."""


class Execution:
    """One call that goes out. Everything that happens to it is told to its run's log.

    `run` must be running for anything to happen. A call that reached nobody is tried again, up to the tool's `retries`;
    one whose connection breaks only if its tool may be repeated, so any other is sent at most once. It ends within
    `invocation.timeout_seconds`. `pause` gives the seconds before the next attempt after so many; `on_retry` hears why
    there is one. A call that may have been `sent_before` by a process that is gone goes out as its second attempt.
    `on_accepted` hears of the handle under which the server keeps the call. Where the operator says how, the
    `reconciler` finds out what came of a call of which nobody knows it, in that time. `may_be_asked` says that this
    could be so of another tool's call, if it goes out in the place of this one.
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
    ) -> None:
        self.followers = 0
        self.finished: CallFinished | None = None
        self.ended = asyncio.Event()
        self._planned = planned
        self._seconds = invocation.timeout_seconds
        self._asked_about = may_be_asked or planned.entry.tool.verify is not None
        self._instead: list[Doubt] = []
        self._invocation = replace(
            invocation,
            timeout_seconds=self._seconds - self._question_seconds(),
            given_up=self._given_up if invocation.durable else invocation.given_up,
        )
        self._on_accepted = on_accepted
        self._reconciler = reconciler
        self._source = source
        self._log = log
        self._clock = clock
        self._pause = pause
        self._on_retry = on_retry
        self._on_defect = on_defect
        self._sent = sent_before
        self._earlier = int(sent_before)
        self._starts = 0
        self._waiting = False
        self._stopped = False
        self._abandoned = False
        self._limit: asyncio.Timeout | None = None

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
        return self._sent

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
        return not self._sent or self._planned.entry.tool.effect.harmless

    @property
    def _succeeded(self) -> bool:
        return self.finished is not None and self.finished.outcome is CallOutcome.SUCCEEDED

    def abandon(self) -> None:
        """Stop it, as nobody listens any more, unless it may have changed something."""
        if self.finished is None and not self._stopped and self._changed_nothing:
            self._abandoned = True
            self.cancel()

    def cancel(self) -> bool:
        """Stop the call as well as its tool allows; False when it had ended before."""
        if self.finished is not None or self._stopped:
            return self.finished is None
        self._stopped = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        return True

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
                return _done(verdict)
            if finished.failure and finished.failure.reason == DeadlineExceeded.reason:
                break  # the server may still be at work on it
            if not again or self._stopped or not self._may_go_again(verdict.verify):
                return failed(ToolCallNotDone(verified_by=verdict.verify.tool))
            self._sent, self._instead, again = False, [], False
            finished = await self._limited(ends)
        return finished

    def _doubted(self, finished: CallFinished) -> list[Doubt]:
        """Say how to find out what came of the call, if that can be and nobody knows; one that was stopped stays so."""
        if self._stopped or finished.outcome is not CallOutcome.UNKNOWN:
            return []
        own = Doubt(server=self._source.name, call=self._invocation, verify=self._planned.entry.tool.verify)
        doubts = self._instead or [own]
        return doubts if any(doubt.verify for doubt in doubts) else []

    async def _verdict(self, doubts: Sequence[Doubt], ends: float) -> Verdict | None:
        try:
            async with asyncio.timeout_at(ends) as self._limit:
                return await self._reconciler.verdict(doubts)
        except TimeoutError:
            return None

    def _may_go_again(self, verify: Verify) -> bool:
        keyed = bool(self._invocation.idempotency_key)
        return verify.again or self._planned.entry.tool.effect.repeatable_by(keyed=keyed)

    def _question_seconds(self) -> float:
        if not self._asked_about:
            return 0.0
        return min(_QUESTION_SHARE * self._seconds, _QUESTION_SECONDS)

    async def _limited(self, ends: float = math.inf) -> CallFinished:
        """Send the call, in its time and not beyond `ends` less the time to ask what came of it."""
        if self._stopped:
            return self._broken(Cancelled())
        last = asyncio.get_running_loop().time() + self._invocation.timeout_seconds
        try:
            async with asyncio.timeout_at(min(last, ends - self._question_seconds())) as self._limit:
                return await self._tried()
        except TimeoutError:
            return self._broken(self._interruption())

    def _interruption(self) -> MeshError:
        seconds = f"{self._invocation.timeout_seconds:g} s"
        if self._waiting and not self._sent:
            if self._stopped:
                return Cancelled("It was stopped while it waited for its turn; it was not sent.")
            return DeadlineExceeded(f"The call waited for its turn for {seconds} and was not sent.")
        return Cancelled() if self._stopped else DeadlineExceeded(f"The tool did not answer within {seconds}.")

    async def _tried(self) -> CallFinished:
        attempt = 1
        while True:
            try:
                output = await self._attempt(attempt)
                return finish(output, self._planned.entry.output)
            except MeshError as error:
                pause = self._pause(attempt)
                if attempt > self._planned.entry.tool.retries or not self._repeatable(error) or pause >= self._left():
                    return self._broken(error)
                self._on_retry(error)
            await asyncio.sleep(pause)
            attempt += 1

    def _repeatable(self, error: MeshError) -> bool:
        """Whether another attempt may follow: none that could do again what this one may have done."""
        effect = self._planned.entry.tool.effect
        match error:
            case ToolServerResting():
                return False
            case ToolServerUnavailable():
                return True
            case ToolConnectionLost():
                return effect.repeatable_by(keyed=bool(self._invocation.idempotency_key))
            case ToolServerFailed():
                return effect.harmless
            case _:
                return False

    def _left(self) -> float:
        ends = self._limit.when() if self._limit is not None else None
        return math.inf if ends is None else ends - asyncio.get_running_loop().time()

    def _given_up(self) -> bool:
        return self._stopped or self._left() <= 0

    async def _attempt(self, attempt: int) -> ToolOutput:
        sent_before = self._sent
        invocation = self._invocation
        if attempt > 1:
            invocation = replace(invocation, timeout_seconds=max(0.0, self._left()), handle="")
        try:
            async with aclosing(self._source.call(invocation)) as updates:
                async for update in updates:
                    match update:
                        case Waiting():
                            self._waiting = True
                        case Sent(by=server, instead=instead):
                            self._started(attempt, server or self._source.name)
                            if instead is not None:
                                self._instead.append(self._reconciler.doubt(server, instead))
                        case Accepted(handle=handle):
                            self._on_accepted(handle)
                        case CallProgress():
                            self._log.append(self.call.id, update)
                        case ToolOutput():
                            return update
        except ToolServerUnavailable:
            self._sent = sent_before
            raise
        raise ToolConnectionLost

    def _started(self, attempt: int, server: str) -> None:
        self._sent, self._waiting = True, False
        self._starts = max(attempt, self._starts + 1)
        started = CallStarted(
            name=self.tool,
            server=server,
            arguments_json=self.call.arguments_json,
            attempt=self._earlier + self._starts,
        )
        self._log.append(self.call.id, started)

    def _broken(self, error: MeshError) -> CallFinished:
        """End without the tool's answer. UNKNOWN if the call may have taken effect nevertheless."""
        if not self._sent:
            cancelled = isinstance(error, Cancelled)
            return failed(error, CallOutcome.CANCELLED if cancelled else CallOutcome.FAILED)
        unanswered = isinstance(error, (*_UNANSWERED, ToolServerUnavailable))
        unknown = unanswered and not self._planned.entry.tool.effect.harmless
        return failed(error, CallOutcome.UNKNOWN if unknown else CallOutcome.FAILED)


def _done(verdict: Verdict) -> CallFinished:
    """End a call whose own answer is lost with what its server says of it."""
    told = Text(text=f"The call was done; its own answer is lost. {verdict.verify.tool} says of it:")
    return CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(told, *verdict.parts))
