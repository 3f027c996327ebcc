"""Offers capabilities as tools, and lets the best of those that have one do it."""

import hashlib
import json
import math
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from threadmesh.clock import Clock
from threadmesh.conversation import ToolCall
from threadmesh.errors import (
    DeadlineExceeded,
    MeshError,
    PromptNotFound,
    ResourceNotFound,
    ToolNotFound,
    Unavailable,
)
from tools_svc.domain.arguments import parse_arguments
from tools_svc.domain.attempt import Attempt, leaves_others, within
from tools_svc.domain.call import Invocation, Sent, ToolOutput, Update
from tools_svc.domain.capability import Capability, Pulse, Ranked, distrusts, ranked, strictest
from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.latest import Latest
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.naming import CAPABILITIES, public_name
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.tool import Effect, Hints, OfferedTool, ServerState, ServerStatus

_HINTS = {
    Effect.READ_ONLY: Hints(read_only=True),
    Effect.IDEMPOTENT: Hints(read_only=False, idempotent=True),
}


class CapabilitySource:
    """A `ToolSource` whose tools are capabilities; each call goes to the alternative that ranks best.

    If nothing could be sent to it, the next one is asked; also where the connection broke behind a call that may be
    repeated, or the alternative's own time was over. What an alternative answers, errors included, is the answer. None
    may ask anything. Calls that a queued alternative does best become tasks of that one (`Substitutes`), before they
    come here.
    """

    def __init__(self, sources: Mapping[str, ToolSource], *, catalogue: Callable[[], Catalogue], clock: Clock) -> None:
        self.name = CAPABILITIES
        self.capabilities: tuple[Capability, ...] = ()
        self._sources = sources
        self._catalogue = catalogue
        self._clock = clock
        self._pulses: dict[str, Pulse] = {}
        self._status = Latest(ServerStatus(state=ServerState.READY))

    @property
    def status(self) -> ServerStatus:
        """The present status."""
        return self._status.value

    async def changes(self) -> AsyncGenerator[ServerStatus, None]:
        """Follow the status."""
        async with aclosing(self._status.states()) as states:
            async for _, status in states:
                yield status

    def define(self, capabilities: Sequence[Capability]) -> None:
        """Offer these capabilities from now on."""
        self.capabilities = tuple(capabilities)
        self.refresh()

    def refresh(self) -> None:
        """Look again what their alternatives may do and say: the strictest is the capability's."""
        catalogue = self._catalogue()
        offers = tuple(
            _offer(each, strictest(each, catalogue), untrusted=distrusts(each, catalogue)) for each in self.capabilities
        )
        if offers != self.status.tools:
            self._status.set(ServerStatus(state=ServerState.READY, tools=offers))

    def ranking(self, capability: Capability) -> list[Ranked]:
        """Rank the alternatives of a capability as they are now."""
        return ranked(capability, self._catalogue(), self._pulses)

    @property
    def names(self) -> Collection[str]:
        """The capabilities, as models call them, of which a queued tool may do a call."""
        queued = {tool.name for tool in self._catalogue().tools if tool.queued}
        return {
            public_name(self.name, each.name)
            for each in self.capabilities
            if any(alternative.tool in queued for alternative in each.alternatives)
        }

    def queued(self, call: ToolCall, arguments: Mapping[str, Any]) -> ToolCall | None:
        """Give the call of the best alternative if that one is queued; None if it is called at once."""
        for capability in self._named(call.name):
            for each in self.ranking(capability):
                own = each.alternative.translated(arguments)
                if each.hindrance or each.entry is None or each.entry.arguments.complaint(own):
                    continue
                told = json.dumps(own, ensure_ascii=False, separators=(",", ":"))
                instead = ToolCall(id=call.id, name=each.alternative.tool, arguments_json=told)
                return instead if each.entry.tool.queued else None
        return None

    def verified(self, tool: str) -> bool:
        """Whether a tool is a capability of which one alternative has a way to find out what came of its calls."""
        can = {each.name for each in self._catalogue().tools if each.verify is not None}
        return any(alternative.tool in can for each in self._named(tool) for alternative in each.alternatives)

    def same(self, kept: ToolCall, call: ToolCall) -> bool:
        """Whether the call that is kept is this one, or one of an alternative that does it."""
        return kept == call or any(
            kept.id == call.id
            and kept.name == alternative.tool
            and parse_arguments(kept.arguments_json) == alternative.translated(parse_arguments(call.arguments_json))
            for capability in self._named(call.name)
            for alternative in capability.alternatives
        )

    def _named(self, tool: str) -> list[Capability]:
        return [each for each in self.capabilities if public_name(self.name, each.name) == tool]

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call by the best alternative."""
        capability = next((each for each in self.capabilities if each.name == invocation.tool), None)
        if capability is None:
            raise ToolNotFound(tool=invocation.tool)
        self.status.require(invocation.tool, invocation.definition_hash)
        attempt = Attempt(capability.name, ends=self._clock.monotonic() + invocation.timeout_seconds)
        for each in self.ranking(capability):
            if not each.hindrance and (source := self._sources.get(_server(each))) is not None:
                async with aclosing(self._tried(attempt, each, source, invocation)) as updates:
                    async for update in updates:
                        yield update
                if attempt.answered:
                    return
        raise attempt.failure()

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Find nothing: capabilities are tools only."""
        raise ResourceNotFound(server=self.name, uri=uri)

    async def watch(self, uri: str) -> AsyncGenerator[str, None]:
        """Find nothing: capabilities are tools only."""
        await self.read(uri)
        yield uri

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:  # noqa: ARG002  # the port has it
        """Find nothing: capabilities are tools only."""
        raise PromptNotFound(prompt=name)

    async def _tried(
        self, attempt: Attempt, each: Ranked, source: ToolSource, invocation: Invocation
    ) -> AsyncGenerator[Update, None]:
        """Call one alternative; an error that lets the next one try is noted, any other raised."""
        arguments = each.alternative.translated(invocation.arguments)
        if each.entry is None or each.entry.arguments.complaint(arguments):
            return
        pulse = self._pulses.setdefault(each.alternative.tool, Pulse())
        tool = each.entry.tool
        began, sent = self._clock.monotonic(), False
        own = replace(
            invocation,
            tool=tool.server_tool,
            definition_hash=tool.definition_hash,
            arguments=arguments,
            timeout_seconds=min(tool.timeout_seconds, attempt.ends - began),
            may_ask=False,
        )
        # Whoever asked ends the call himself when all of its time is over.
        seconds = tool.timeout_seconds if began + tool.timeout_seconds < attempt.ends else math.inf
        try:
            async with aclosing(within(seconds, source.call(own))) as updates:
                async for update in updates:
                    sent = sent or isinstance(update, Sent)
                    if isinstance(update, ToolOutput):
                        attempt.answered = True
                        pulse.answered(self._clock.monotonic() - began)
                    yield Sent(by=source.name, instead=own) if isinstance(update, Sent) else update
        except MeshError as error:
            if isinstance(error, Unavailable | DeadlineExceeded):
                pulse.failed()
            attempt.note(error, sent=sent)
            if not leaves_others(error, each.entry.tool.effect, sent=sent):
                raise


def _offer(capability: Capability, effect: Effect, *, untrusted: bool) -> OfferedTool:
    hints = _HINTS.get(effect, Hints(read_only=False, idempotent=False))
    told = json.dumps([capability.name, capability.description, capability.parameters_json])
    return OfferedTool(
        name=capability.name,
        description=capability.description,
        parameters_json=capability.parameters_json,
        hints=replace(hints, open_world=untrusted),
        definition_hash=hashlib.sha256(told.encode()).hexdigest(),
    )


def _server(each: Ranked) -> str:
    return each.entry.tool.server if each.entry else ""
