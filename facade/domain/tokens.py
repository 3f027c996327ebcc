"""How many tokens entries of a thread take, so that windows of it can be measured without a model."""

from collections.abc import Sequence
from dataclasses import replace

from facade.domain.ports import Inference
from facade.domain.records import NewRun
from threadmesh.conversation import Media, Message

_AROUND = 4
"""What a template puts around a message: its role, and where it begins and ends."""


SHORT_BYTES = 256
"""For so much an estimate will do where somebody waits: it is too high by some thirty tokens at most."""


class TokenCount:
    """Counts the tokens of messages for one model; 0 stands where an estimate has to do, as for those that are `short`:
    of so many bytes at most.
    """

    def __init__(self, inference: Inference, model: str, *, short: int = 0) -> None:
        self._inference, self._model, self._short = inference, model, short

    async def of(self, messages: Sequence[Message]) -> list[int]:
        """Count messages of nothing but text."""
        counted = [_is_plain(message) and len(message.text.encode()) > self._short for message in messages]
        texts = [message.text for message, is_counted in zip(messages, counted, strict=True) if is_counted]
        counts = iter(await self._inference.count(texts, model=self._model))
        found = [next(counts) if is_counted else 0 for is_counted in counted]
        return [count and count + _AROUND for count in found]


async def with_tokens(new: NewRun, inference: Inference) -> NewRun:
    """Give a run whose input is to stay, in a thread that others go on with, counted."""
    if not new.thread_id and not new.thread_key:
        return new
    return replace(new, input_tokens=await TokenCount(inference, new.parameters.model).of(new.input))


def _is_plain(message: Message) -> bool:
    return bool(message.text) and not message.tool_calls and not any(isinstance(part, Media) for part in message.parts)
