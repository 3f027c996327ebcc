"""The use case of this service: a prompt in, an answer out, as a stream that is never silent for long."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from inference_svc.domain.events import Event, Failed, Finished, Phase, Progress, Started
from inference_svc.domain.prompt import Prompt
from inference_svc.domain.router import Router
from threadmesh.conversation import Failure, ReasoningDelta, TextDelta, ToolCallDelta
from threadmesh.errors import Internal, MeshError
from threadmesh.streams import gathered

_APART_SECONDS = 0.04
_JOINED_TOKENS = 16
"""Tokens of one event at most, so that a stream stays a stream."""


async def generate(prompt: Prompt, router: Router, *, heartbeat: float) -> AsyncGenerator[Event, None]:
    """Stream the answer of the model's backend.

    A `Progress` comes whenever nothing else came for `heartbeat` seconds. An error before the first event is raised
    as it is; a later one is first told by a `Failed`.
    """
    backend = router.find(prompt.model)
    async with (
        aclosing(backend.stream(prompt)) as events,
        aclosing(beating(events, every=heartbeat)) as beats,
        aclosing(telling_failure(beats)) as told,
    ):
        async for event in told:
            yield event


async def telling_failure(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Pass events on; an error after the first one is told as an event before it is raised."""
    begun = False
    try:
        async for event in events:
            begun = True
            yield event
    except MeshError as error:
        if begun:
            yield Failed(failure=Failure.of(error))
        raise
    except Exception:
        if begun:
            yield Failed(failure=Failure.of(Internal()))
        raise


async def beating(events: AsyncGenerator[Event, None], *, every: float) -> AsyncGenerator[Event, None]:
    """Pass events on, and repeat the last known progress whenever none comes for `every` seconds.

    After the first word, events leave some milliseconds apart; pieces of text that come in between are joined.
    """
    beat: Progress | None = None
    speaking = False

    def hurry(waiting: Sequence[Event]) -> bool:
        return not speaking or isinstance(waiting[-1], Finished)

    async with aclosing(gathered(events, every=every, apart=_APART_SECONDS, hurry=hurry)) as pieces:
        async for piece in pieces:
            if not piece and beat is not None:
                yield beat
            for event in joined(piece):
                beat = progress_after(event, beat)
                speaking = isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta)
                yield event


def joined(events: Sequence[Event]) -> list[Event]:
    """Join neighbouring pieces of text, so that a reader who is behind gets more at once."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta) and len(last.token_ids) < _JOINED_TOKENS:
            found[-1] = TextDelta(
                text=last.text + event.text,
                token_ids=last.token_ids + event.token_ids,
                token_index=last.token_index,
                logprobs=last.logprobs + event.logprobs,
            )
        else:
            found.append(event)
    return found


def progress_after(event: Event, before: Progress | None) -> Progress | None:
    """Say how far a request is once this event has come; None before it has started and after it has ended."""
    match event:
        case Started(prompt_tokens=tokens):
            return Progress(phase=Phase.QUEUED, prefilled_tokens=0, prompt_tokens=tokens)
        case Progress():
            return event
        case Finished() | Failed():
            return None
        case _:
            tokens = before.prompt_tokens if before else 0
            return Progress(phase=Phase.DECODE, prefilled_tokens=tokens, prompt_tokens=tokens)
