"""The bundled model on one engine for all tests of a session, and short ways to ask it."""

import asyncio
import functools
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.adapters.model_files import find_model
from inference_svc.domain.events import Event, Finished
from inference_svc.domain.ports import Backend
from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.conversation import Message, Role, TextDelta, ToolCallDelta, ToolDefinition, message
from threadmesh.sampling import Sampling

GREEDY = Sampling(temperature=0.0)


class Watcher:
    """Keeps what an engine tells of itself."""

    def __init__(self) -> None:
        self.phases: Counter[str] = Counter()
        self.steps = self.jumped = 0
        self.running = self.most = self.parked = 0
        self.guesses: Counter[str] = Counter()

    def occupied(self, *, running: int, waiting: int, parked: int) -> None:
        self.running, self.parked = running, parked
        self.most = max(self.most, running)

    def stepped(self, *, seconds: float, threads: int) -> None:
        self.steps += 1

    def forced(self) -> None:
        self.jumped += 1

    def guessed(self, *, proposed: int, accepted: int) -> None:
        self.guesses["proposed"] += proposed
        self.guesses["accepted"] += accepted

    def left(self, *, phase: str) -> None:
        self.phases[phase] += 1


def bundled_model() -> Path:
    return find_model("", models_dir=Path()).path


def backend_of(**options: Any) -> tuple[LlamaCppBackend, Watcher]:
    """Load the bundled model; the caller closes it."""
    watcher = Watcher()
    chosen = {"name": "bundled", "threads": 1, "created": 1, "context_tokens": 1024, "sequences": 3, **options}
    backend = LlamaCppBackend(ModelOptions(**chosen), observer=watcher)
    asyncio.run(backend.load(bundled_model()))
    return backend, watcher


@functools.cache
def bundled() -> tuple[LlamaCppBackend, Watcher]:
    """The bundled model, loaded once for all tests."""
    return backend_of()


def prompt(
    text: str | Sequence[Message], *, tools: tuple[ToolDefinition, ...] = (), model: str = "", **asked: Any
) -> Prompt:
    """Ask one thing, or continue a conversation."""
    messages = (message(Role.USER, text),) if isinstance(text, str) else tuple(text)
    return Prompt(conversation=Conversation(messages=messages, tools=tools), model=model, **asked)


async def answered(backend: Backend, asked: Prompt) -> list[Event]:
    """Give all events of an answer."""
    async with aclosing(backend.stream(asked)) as events:
        return [event async for event in events]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def ids_of(events: Sequence[Event]) -> list[int]:
    deltas = [event for event in events if isinstance(event, TextDelta | ToolCallDelta)]
    return [token for delta in deltas for token in delta.token_ids]


def calls_of(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Give names and arguments of the calls of an answer."""
    calls: dict[int, tuple[str, str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            name, arguments = calls.get(event.index, ("", ""))
            calls[event.index] = (name + event.name, arguments + event.arguments_json)
    return [calls[index] for index in sorted(calls)]


def end_of(events: Sequence[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last
