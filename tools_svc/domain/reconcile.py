"""Asks a server what came of a call that was sent and not answered."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
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
class Doubt:
    """A call that a server may have done, and how to find out; `verify` is None where nobody can."""

    server: str
    call: Invocation
    verify: Verify | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the server said: whether the call was done, and the answer that says so."""

    done: bool
    parts: tuple[Part, ...]
    verify: Verify

    def finished(self) -> CallFinished:
        """End a call that was done, and whose own answer is lost, with what its server says of it."""
        told = Text(text=f"The call was done; its own answer is lost. {self.verify.tool} says of it:")
        return CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(told, *self.parts))


class Reconciler:
    """Asks by the tool that the operator names; only if that reads and nobody has to approve it."""

    def __init__(
        self, sources: Mapping[str, ToolSource], *, catalogue: Callable[[], Catalogue], pause: Callable[[int], float]
    ) -> None:
        """`pause` gives the seconds before the next question after so many that reached nobody."""
        self._sources = sources
        self._catalogue = catalogue
        self._pause = pause

    def doubt(self, server: str, call: Invocation) -> Doubt:
        """Say how to find out what came of a call that went to a server in the place of another."""
        try:
            verify = self._catalogue().find(public_name(server, call.tool)).tool.verify
        except MeshError:
            verify = None
        return Doubt(server=server, call=call, verify=verify)

    async def verdict(self, doubts: Iterable[Doubt]) -> Verdict | None:
        """Say whether any of these calls took effect; None when nobody can tell. Takes as long as its caller lets it.

        None of them did only if that is said of each.
        """
        verdict, certain = None, True
        for doubt in doubts:
            told = None if doubt.verify is None else await self._verdict(doubt, doubt.verify)
            if told is not None and told.done:
                return told
            verdict, certain = told, certain and told is not None
        return verdict if certain else None

    async def _verdict(self, doubt: Doubt, verify: Verify) -> Verdict | None:
        await asyncio.sleep(verify.after_seconds)
        try:
            output = await self._asked(self._sources[doubt.server], self._question(doubt, verify))
        except (MeshError, LookupError):
            return None
        done = verify.judged(output)
        return None if done is None else Verdict(done=done, parts=output.parts, verify=verify)

    def _question(self, doubt: Doubt, verify: Verify) -> Invocation:
        call = doubt.call
        entry = self._catalogue().find(public_name(doubt.server, verify.tool))
        arguments = verify.question(call)
        if not entry.tool.effect.harmless or entry.tool.requires_approval or entry.arguments.complaint(arguments):
            raise LookupError(verify.tool)
        return Invocation(
            tool=verify.tool,
            arguments=arguments,
            timeout_seconds=entry.tool.timeout_seconds,
            call_id=f"{call.call_id}/verify",
            definition_hash=entry.tool.definition_hash,
            run_id=call.run_id,
            thread_id=call.thread_id,
            request_id=call.request_id,
        )

    async def _asked(self, source: ToolSource, question: Invocation) -> ToolOutput:
        """Ask until somebody answers: the server may just be starting again."""
        for asked in range(1, _MOST_QUESTIONS):
            try:
                return await _answer(source, question)
            except Unavailable:
                await asyncio.sleep(self._pause(asked))
        return await _answer(source, question)


async def _answer(source: ToolSource, question: Invocation) -> ToolOutput:
    async with aclosing(source.call(question)) as updates:
        async for update in updates:
            if isinstance(update, ToolOutput):
                return update
    raise ToolConnectionLost
