"""The workshop's tools as functions of this process."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from threadmesh.conversation import CallProgress, Role, Text, message
from threadmesh.errors import ToolConnectionLost, ToolFailed
from tools_svc.adapters.memory_source import Handler, MemoryShelf, MemorySource, MemoryTool, Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.library import (
    FilledPrompt,
    Library,
    Prompt,
    PromptArgument,
    Resource,
    ResourceContent,
    ResourceTemplate,
)
from tools_svc.domain.tool import OfferedTool

Run = Callable[[dict[str, Any], Report], Awaitable[ToolOutput]]


def memory_workshop() -> MemorySource:
    """Make a source that behaves like the workshop."""
    shop = _Workshop()
    names = ("echo", "fail", "meet", "gate", "open_gate", "was_cancelled", "work", "die", "grow", "stock", "amend")
    shop.tools = {name: _tool(name, getattr(shop, name)) for name in names}
    shop.source = MemorySource("workshop", shop.tools, shop.shelf())
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
        self._stocked: tuple[str, ...] = ()
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

    async def amend(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        self.source.amend(arguments["uri"])
        return _text("amended")

    async def stock(self, arguments: dict[str, Any], report: Report) -> ToolOutput:
        self._stocked += (arguments["name"],)
        self.source.stock(self.shelf())
        return _text("stocked")

    def shelf(self) -> MemoryShelf:
        contents = {
            "note://rules": _note("note://rules", "Wear goggles. ü😀", "text/plain"),
            "note://picture": _note("note://picture", bytes(range(256)), "image/png"),
            "note://shelf/7": _note("note://shelf/7", "shelf 7", "text/plain"),
        } | {f"note://{name}": _note(f"note://{name}", "new", "text/plain") for name in self._stocked}
        rules = Resource(
            uri="note://rules",
            name="rules",
            title="The rules",
            description="What holds here.",
            mime_type="text/plain",
        )
        others = [Resource(uri=f"note://{name}", name=name) for name in ("picture", *self._stocked)]
        arguments = (PromptArgument(name="tool", required=True), PromptArgument(name="tone"))
        explain = Prompt(name="explain", title="Explain", description="Explains a tool.", arguments=arguments)
        library = Library(
            resources=(rules, *others),
            templates=(ResourceTemplate(uri_template="note://shelf/{number}", name="shelf"),),
            prompts=(explain, *(Prompt(name=name) for name in self._stocked)),
        )
        return MemoryShelf(library=library, contents=contents, prompts={"explain": _explained})


def _note(uri: str, content: str | bytes, mime_type: str) -> tuple[ResourceContent, ...]:
    return (ResourceContent(uri=uri, mime_type=mime_type, content=content),)


def _explained(arguments: Mapping[str, str]) -> FilledPrompt:
    if "tool" not in arguments:
        raise ToolFailed("The argument tool is missing.")
    words = f"Explain {arguments['tool']} in a {arguments.get('tone', 'plain')} tone."
    return FilledPrompt(description="Explains a tool.", messages=(message(Role.USER, words),))


def _text(words: str) -> ToolOutput:
    return ToolOutput(parts=(Text(text=words),))
