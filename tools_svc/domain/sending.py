"""The sending of one call to its server: what is told of it, and how it goes on once the server's questions are
answered.
"""

import asyncio
import math
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from threadmesh.conversation import CallProgress, CallStarted
from threadmesh.errors import ToolConnectionLost, ToolInputRequired, ToolServerUnavailable
from threadmesh.questions import Answer
from tools_svc.domain.call import Accepted, Asked, Invocation, Sent, ToolOutput, Waiting
from tools_svc.domain.inquiry import Inquiry
from tools_svc.domain.plan import Planned
from tools_svc.domain.ports import CallLog, ToolSource
from tools_svc.domain.reconcile import Doubt


class Sending:
    """Sends a call, as often as it is told to, and tells its run's log of starts, progress and questions."""

    def __init__(
        self,
        planned: Planned,
        invocation: Invocation,
        *,
        source: ToolSource,
        log: CallLog,
        inquiry: Inquiry,
        on_accepted: Callable[[str], None],
        doubt: Callable[[str, Invocation], Doubt],
        sent_before: bool,
    ) -> None:
        """A call that may have been `sent_before` by a process that is gone goes out as its second attempt.

        `doubt` says how to find out what came of a call that a server was sent in the place of this one.
        """
        self.invocation = invocation
        """What is sent next."""
        self.sent = sent_before
        """Whether the server may be at work on it, or have been."""
        self.waiting = False
        """Whether it waits for its turn."""
        self._planned = planned
        self._source = source
        self._log = log
        self._inquiry = inquiry
        self._on_accepted = on_accepted
        self._doubt = doubt
        self._instead: list[Doubt] = []
        self._earlier = int(sent_before)
        self._starts = 0

    async def attempt(self, number: int, limit: asyncio.Timeout) -> ToolOutput:
        """Give the tool's answer; raises what the source does, and `ToolInputRequired`.

        A server that asks in the place of answering is sent the call again with the answers, for which `limit` stands
        still; that is no attempt of its own.
        """
        invocation = self.invocation
        if number > 1:
            invocation = replace(invocation, timeout_seconds=max(0.0, left(limit)), handle="")
        while True:
            said = await self._heard(invocation, number, limit)
            if isinstance(said, ToolOutput):
                return said
            self.forget()  # until it has the answers, its server has nothing to do
            answers = await self._answers(said, limit)
            self.invocation = replace(self.invocation, answers=answers, request_state=said.request_state)
            invocation = replace(self.invocation, timeout_seconds=max(0.0, left(limit)))
            number = 0

    def doubts(self) -> list[Doubt]:
        """Say what servers may have done of this call, and how to find out."""
        verify = self._planned.entry.tool.verify
        return self._instead or [Doubt(server=self._source.name, call=self.invocation, verify=verify)]

    def forget(self) -> None:
        """Note that no server is at work on it, or has been."""
        self.sent, self._instead = False, []

    async def _heard(self, invocation: Invocation, number: int, limit: asyncio.Timeout) -> ToolOutput | Asked:
        sent_before = self.sent
        try:
            async with aclosing(self._source.call(invocation)) as updates:
                async for update in updates:
                    match update:
                        case Waiting():
                            self.waiting = True
                        case Sent(by=server, instead=instead):
                            self._start(number, server or self._source.name)
                            if instead is not None:
                                self._instead.append(self._doubt(server, instead))
                        case Accepted(handle=handle):
                            self._on_accepted(handle)
                        case CallProgress():
                            self._log.append(self._planned.call.id, update)
                        case Asked(reply=reply) if reply is not None:
                            reply(await self._answers(update, limit))
                        case Asked() | ToolOutput():
                            return update
        except ToolServerUnavailable:
            self.sent = sent_before
            raise
        raise ToolConnectionLost

    async def _answers(self, asked: Asked, limit: asyncio.Timeout) -> tuple[Answer, ...]:
        if not self.invocation.may_ask:
            raise ToolInputRequired
        return await self._inquiry.ask(asked, server=self._source.name, limit=limit)

    def _start(self, number: int, server: str) -> None:
        """Note that the call goes out, and tell it of an attempt; 0 is none."""
        self.sent, self.waiting = True, False
        if not number:
            return
        self._starts = max(number, self._starts + 1)
        started = CallStarted(
            name=self._planned.entry.tool.name,
            server=server,
            arguments_json=self._planned.call.arguments_json,
            attempt=self._earlier + self._starts,
        )
        self._log.append(self._planned.call.id, started)


def left(limit: asyncio.Timeout | None) -> float:
    """Give the seconds that a limit leaves."""
    ends = limit.when() if limit is not None else None
    return math.inf if ends is None else ends - asyncio.get_running_loop().time()
