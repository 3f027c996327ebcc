"""The workshop's tools as functions of this process."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from threadmesh.conversation import CallProgress, Text
from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters.memory_source import Handler, MemorySource, MemoryTool, Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.tool import OfferedTool

Run = Callable[[dict[str, Any], Report], Awaitable[ToolOutput]]


def memory_workshop() -> MemorySource:
    """Make a source that behaves like the workshop."""
    shop = _Workshop()
    names = ("echo", "fail", "meet", "gate", "open_gate", "was_cancelled", "work", "die", "grow")
    shop.tools = {name: _tool(name, getattr(shop, name)) for name in names}
    shop.source = MemorySource("workshop", shop.tools)
    return shop.source


def _tool(name: str, run: Run) -> MemoryTool:
    async def handler(invocation: Invocation, report: Report) -> ToolOutput:
        return await run(invocation.arguments, report)

    typed: Handler = handler
    return MemoryTool(
        offer=OfferedTool(name=name, parameters_json='{"type":"object"}', definition_hash=name), run=typed
    )


class _Workshop:
    source: MemorySource
    tools: dict[str, MemoryTool]

    def __init__(self) -> None:
        self._arrivals: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._opened: set[str] = set()
        self._cancelled: dict[str, asyncio.Event] = {}

    async def echo(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        structured = {"count": 1, "note": None} | arguments
        return ToolOutput(parts=(Text(text="echo"),), structured_json=json.dumps(structured))

    async def fail(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        return ToolOutput(parts=(Text(text=arguments["why"]),), is_error=True)

    async def meet(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        async with self._changed:
            self._arrivals[arguments["place"]] += 1
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._arrivals[arguments["place"]] >= arguments["parties"])
        return _text("met")

    async def gate(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        report(CallProgress(progress=1, total=2, message="waiting"))
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: arguments["name"] in self._opened)
        except asyncio.CancelledError:
            self._cancelled.setdefault(arguments["name"], asyncio.Event()).set()
            raise
        return _text("passed")

    async def open_gate(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        async with self._changed:
            self._opened.add(arguments["name"])
            self._changed.notify_all()
        return _text("opened")

    async def was_cancelled(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        await self._cancelled.setdefault(arguments["name"], asyncio.Event()).wait()
        return _text("cancelled")

    async def work(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        for step in range(1, arguments["steps"] + 1):
            report(CallProgress(progress=step, total=arguments["steps"], message=f"step {step}"))
        return _text("done")

    async def die(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        raise ToolConnectionLost

    async def grow(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        self.tools = self.tools | {arguments["name"]: _tool(arguments["name"], self.echo)}
        self.source.offer(self.tools)
        return _text("grown")


def _text(words: str) -> ToolOutput:
    return ToolOutput(parts=(Text(text=words),))
