"""Asks a server what came of a call that was sent and not answered."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from threadmesh.conversation import CallFinished, CallOutcome, Part, Text
from threadmesh.errors import MeshError, ToolConnectionLost, Unavailable
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.naming import public_name
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.verify import Verify

_MOST_QUESTIONS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the server said: whether the call was done, and the answer that says so."""

    done: bool
    parts: tuple[Part, ...]

    def finished(self, verify: Verify) -> CallFinished:
        """End a call that was done, and whose own answer is lost, with what its server says of it."""
        told = Text(text=f"The call was done; its own answer is lost. {verify.tool} says of it:")
        return CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(told, *self.parts))


class Reconciler:
    """Asks by the tool that the operator names; only if that reads and nobody has to approve it."""

    def __init__(
        self, source: ToolSource, *, catalogue: Callable[[], Catalogue], pause: Callable[[int], float]
    ) -> None:
        """`pause` gives the seconds before the next question after so many that reached nobody."""
        self._source = source
        self._catalogue = catalogue
        self._pause = pause

    async def verdict(self, verify: Verify, call: Invocation) -> Verdict | None:
        """Say whether the call took effect; None when nobody can tell. Takes as long as its caller lets it."""
        await asyncio.sleep(verify.after_seconds)
        try:
            output = await self._asked(self._question(verify, call))
        except (MeshError, LookupError):
            return None
        done = verify.judged(output)
        return None if done is None else Verdict(done=done, parts=output.parts)

    def _question(self, verify: Verify, call: Invocation) -> Invocation:
        entry = self._catalogue().find(public_name(self._source.name, verify.tool))
        arguments = verify.question(call)
        if not entry.tool.effect.harmless or entry.tool.requires_approval or entry.arguments.complaint(arguments):
            raise LookupError(verify.tool)
        return Invocation(
            tool=verify.tool,
            arguments=arguments,
            timeout_seconds=entry.tool.timeout_seconds,
            call_id=f"{call.call_id}/verify",
            run_id=call.run_id,
            thread_id=call.thread_id,
            request_id=call.request_id,
        )

    async def _asked(self, question: Invocation) -> ToolOutput:
        """Ask until somebody answers: the server may just be starting again."""
        for asked in range(1, _MOST_QUESTIONS):
            try:
                return await self._answer(question)
            except Unavailable:
                await asyncio.sleep(self._pause(asked))
        return await self._answer(question)

    async def _answer(self, question: Invocation) -> ToolOutput:
        async with aclosing(self._source.call(question)) as updates:
            async for update in updates:
                if isinstance(update, ToolOutput):
                    return update
        raise ToolConnectionLost
