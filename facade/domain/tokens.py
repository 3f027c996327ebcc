"""How many tokens entries of a thread take, so that windows of it can be measured without a model."""

from collections.abc import Sequence
from dataclasses import replace

from facade.domain.ports import Inference
from facade.domain.records import NewRun
from threadmesh.conversation import Media, Message

_AROUND = 4
"""What a template puts around a message: its role, and where it begins and ends."""


class TokenCount:
    """Counts the tokens of messages for one model; 0 stands where an estimate has to do."""

    def __init__(self, inference: Inference, model: str) -> None:
        self._inference, self._model = inference, model

    async def of(self, messages: Sequence[Message]) -> list[int]:
        """Count messages of nothing but text."""
        plain = [message for message in messages if _is_plain(message)]
        counts = iter(await self._inference.count([message.text for message in plain], model=self._model))
        found = [next(counts) if _is_plain(message) else 0 for message in messages]
        return [count and count + _AROUND for count in found]


async def with_tokens(new: NewRun, inference: Inference) -> NewRun:
    """Give a run whose input is to stay, in a thread that others go on with, counted."""
    if not new.thread_id and not new.thread_key:
        return new
    return replace(new, input_tokens=await TokenCount(inference, new.parameters.model).of(new.input))


def _is_plain(message: Message) -> bool:
    return bool(message.text) and not message.tool_calls and not any(isinstance(part, Media) for part in message.parts)
