"""The answering of one run: model, tools, model, answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from facade.domain.approval import approvals, ask, awaiting, heed, planned
from facade.domain.ask_input import ask_input
from facade.domain.asking import Asking
from facade.domain.call import Patience, run_calls
from facade.domain.call_log import CallLog, ResultShape
from facade.domain.events import RunFinished, RunState
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.model_reply import ModelReply
from facade.domain.offer import Catalogue
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Model
from facade.domain.progress import Progress
from facade.domain.question import bounded
from facade.domain.records import CallRecord, CallState, NewItem
from facade.domain.together import together
from facade.domain.tokens import SHORT_BYTES, TokenCount
from threadmesh.conversation import Failure, FinishReason, ToolCall
from threadmesh.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    MeshError,
)

_UNDER_WAY = (CallState.INTENT, CallState.AWAITING_INPUT)
"""How far calls are that may have been sent, or have been."""
_NOT_SENT = (CallState.PLANNED, CallState.AWAITING_APPROVAL)
"""How far calls are whose round waits for a person."""
_MOST_CALLS = 128
"""Tool calls of one answer, and no more of it is kept."""


class Turn:
    """The answering of one claimed run."""

    def __init__(self, mesh: Mesh, journal: Journal, limits: Limits, progress: Progress | None = None) -> None:
        """Begin, or go on where another process has left off."""
        self._mesh = mesh
        self._journal = journal
        self._limits = limits
        self._parameters = bounded(
            TurnParameters.from_json(journal.run.parameters_json), answer_tokens=limits.answer_tokens
        )
        self._at = progress or Progress()
        self._asking = Asking(mesh, journal.run, limits, self._parameters, self._at)
        self._log: CallLog | None = None
        self._sent = journal.run.epoch > 1  # by another process, for all we know
        self.leaving = False
        """Whether a cancellation means to leave the run to others, without an end."""
        self.unwanted = False
        """Whether a cancellation was asked for: then its calls are to be stopped, too."""

    async def run(self) -> RunState:
        """Answer, and finish the run whatever happens, also when this is cancelled; gives how it ended.

        A run that waits for a person's decision REQUIRES_ACTION, and others go on with it. An error becomes the run's
        failure; what was said until then stays in the thread, marked incomplete. Raises what keeps the run from being
        finished, such as `StaleEpoch` or a store that is gone, and defects.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                reason = await self._rounds()
        except MeshError as error:
            return await self._give_up(RunState.FAILED, error)
        except TimeoutError:
            return await self._give_up(RunState.FAILED, DeadlineExceeded(seconds=self._limits.seconds))
        except asyncio.CancelledError:
            await asyncio.shield(self._leave() if self.leaving else self._stopped())
            raise
        except Exception:
            await self._give_up(RunState.FAILED, Internal())
            raise
        else:
            if reason is None:
                return RunState.REQUIRES_ACTION
            finished = RunFinished(state=RunState.SUCCEEDED, reason=reason, usage=self._at.usage)
            await self._journal.finish(finished, items=self._last_items())
            return finished.state

    async def _rounds(self) -> FinishReason | None:
        """Give why the last model stopped; None if a person decides how the run goes on."""
        model = await self._asking.model()
        catalogue = await self._asking.catalogue()
        if self._parameters.choices > 1:
            return await self._choices(model, catalogue)
        while True:
            if self._at.answer.reason is None:
                await self._asking.ask(model, catalogue, self._journal)
            reason = self._at.answer.reason or FinishReason.STOP
            if reason is FinishReason.LENGTH:
                self._at.answer.drop_broken_call()
            if (left := self._asking.calls_left) is not None:
                # Not refused but never made, as OpenAI does: the model may ask again, and reads no error.
                self._at.answer.ignore_calls(of=self._asking.is_own, beyond=left)
            # Neither a thread's entry nor a batch holds more; a model that asks for more has lost its way.
            del self._at.answer.calls[_MOST_CALLS:]
            own = [call for call in self._at.answer.calls if self._asking.is_own(call.name)]
            theirs = len(self._at.answer.calls) - len(own)
            if own and not await self._run_calls(own, catalogue):
                return None
            if theirs or not own or self._at.round == self._limits.tool_rounds:
                return reason
            self._at.next_round()
            self._log, self._sent = None, False

    async def _choices(self, model: Model, catalogue: Catalogue) -> FinishReason:
        """Ask for several answers at once; those that are not the first only stand in the log."""
        numbers = range(self._parameters.choices)
        left = [number for number in numbers if self._at.choice(number).reason is None]
        parts = self._mesh, self._journal.run, self._limits, self._parameters, self._at
        await together(Asking(*parts, choice=each).ask(model, catalogue, self._journal) for each in left)
        reason = self._at.answer.reason or FinishReason.STOP
        if reason is FinishReason.LENGTH:
            self._at.answer.drop_broken_call()
        return reason

    async def _run_calls(self, own: Sequence[ToolCall], catalogue: Catalogue) -> bool:
        """Run the calls of this round, or go on with those that another process has begun; False if they must wait."""
        resumed = any(record.state is CallState.INTENT for record in self._at.begun)
        if not self._at.begun:
            asked = self._last_items()
            self._at.begun = self._planned(own, catalogue)
            if awaiting(self._at.begun):
                await self._ask_persons(asked)
                return False
            await self._journal.commit(items=asked, calls=self._at.begun)
        log = self._log = self._call_log()
        await heed(self._at.begun, log, self._journal, wanted=self._asking.is_wanted)
        self._sent = True
        await run_calls(
            log,
            self._mesh.tools,
            self._journal.run,
            patience=Patience(
                first_seconds=2 * self._limits.patience_seconds,
                return_seconds=self._limits.return_seconds,
                budget=self._mesh.retries.calls,
            ),
            resumed=resumed,
            reply=ModelReply(self._mesh, self._parameters, self._limits, self._at),
            approvals=approvals(self._at.begun),
            trusted_context=self._at.answer.has_trusted_context,
        )
        if self._journal.trouble:
            await self._journal.commit()  # no model reads a result that may not be durable
        if log.asking:
            await ask_input(log, self._journal, in_round=self._at.round, seconds=self._limits.approval_seconds)
        return not log.asking

    def _planned(self, own: Sequence[ToolCall], catalogue: Catalogue) -> list[CallRecord]:
        return planned(
            own,
            catalogue,
            first_ordinal=self._at.calls,
            trusted_context=self._at.answer.has_trusted_context,
            asking=self._asking_tools(catalogue),
        )

    def _asking_tools(self, catalogue: Catalogue) -> set[str]:
        """Name the tools about whose calls a person is asked here, besides those that require it themselves.

        What a tool says may have been written by anybody, and the model has read it.
        """
        wanted = set(self._parameters.asking_tools)
        if self._limits.approve_after_tools and self._at.calls:
            wanted |= {name for name, tool in catalogue.items() if not tool.harmless}
        return wanted

    async def _ask_persons(self, items: Sequence[NewItem]) -> None:
        seconds = self._limits.approval_seconds
        await ask(self._at.begun, self._journal, in_round=self._at.round, items=items, seconds=seconds)

    def _call_log(self) -> CallLog:
        count = TokenCount(self._mesh.inference, self._parameters.model, short=SHORT_BYTES)
        shape = ResultShape(characters=self._limits.result_characters, count=count)
        return CallLog(self._at.begun, self._journal, in_round=self._at.round, shape=shape, attempts=self._at.attempts)

    async def _leave(self) -> None:
        """Write down what is known and give the run up to whoever takes it over next."""
        await self._journal.commit()
        await self._mesh.context.hand_over(self._journal.run)

    async def _stopped(self) -> None:
        """End the run because somebody wants it to, or because it cannot be written down how it goes on.

        Tell first who waits for answers: whoever takes the run over when this is broken off does the same.
        """
        if trouble := self._journal.trouble:
            await self._give_up(RunState.FAILED, trouble)
            return
        await self._forsake()
        await self._end(RunState.CANCELLED, Cancelled())

    async def _give_up(self, state: RunState, error: MeshError) -> RunState:
        """End the run, and tell those who wait for answers, who are nobody's business if it is another's by now."""
        await self._end(state, error)
        await self._forsake()
        return state

    async def _end(self, state: RunState, error: MeshError) -> None:
        if self._journal.trouble is None or self._journal.trouble.retryable:
            await self._end_calls(error)
        finished = RunFinished(state=state, usage=self._at.usage, failure=Failure.of(error))
        await self._journal.finish(finished, items=self._last_items(incomplete=True))

    async def _end_calls(self, error: MeshError) -> None:
        """Give the calls an end that the run leaves without one; of those that were sent nobody knows what they did."""
        if self._log is None and (waiting := [each.call.id for each in self._at.begun if each.state in _NOT_SENT]):
            self._log = self._call_log()
            await self._journal.commit()
            await self._log.end(waiting, error, sent=False)
        under_way = {record.call.id for record in self._at.begun if record.state in _UNDER_WAY}
        log = self._log or self._call_log()
        left = [call_id for call_id in log.unfinished if self._log or call_id in under_way]
        if left:
            await self._journal.commit()  # what waits may leave no room for what is added
            await log.end(left, error, sent=self._sent)

    async def _forsake(self) -> None:
        open_calls = [record.call.id for record in self._at.begun if record.state is not CallState.FINISHED]
        if open_calls:
            await self._mesh.tools.forsake(self._journal.run, open_calls, stop=self.unwanted)

    def _last_items(self, *, incomplete: bool = False) -> list[NewItem]:
        if self._at.begun:
            return []  # they were stored with the calls
        message = self._at.answer.message()
        if incomplete:
            # A call that will not be made must not stand in the thread.
            message = replace(message, tool_calls=())
        if not message.parts and not message.tool_calls:
            return []
        tokens = self._at.answer.usage.completion_tokens or len(self._at.answer.tokens)
        return [NewItem(message=message, incomplete=incomplete, tokens=tokens)]
