"""`threadmesh threads summarize`: a model's words for the beginning of a conversation.

The services know nothing of each other, so the command reads from one, asks the other, and adds the answer to the
first, which refuses it when the thread is no longer what was read.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.api.conversation.v1 import conversation_pb2
from threadmesh.api.inference.v1 import inference_service_pb2 as inference_pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.cli.calls import SECONDS, find_thread, list_items, list_models, reached
from threadmesh.cli.output import one_line, print_json, printable, stdout
from threadmesh.cli.progress import Bar, progress
from threadmesh.codec import decode_message, encode_message
from threadmesh.conversation import Message
from threadmesh.errors import MeshError, ModelNotFound
from threadmesh.retry import persist
from threadmesh.retry_budget import unshared
from threadmesh.rpc.channel import MeshChannel, translated, translated_stream
from threadmesh.summaries import pieces, prompt, room_of

_SILENCE_SECONDS = 30.0
"""A model that is at work shows a sign of life every second."""
_BUSY_SECONDS = 30.0
"""How long a thread that is being answered is waited for."""
_AROUND = 4
"""Tokens that a template puts around a message."""
_INSTRUCTIONS = {conversation_pb2.ROLE_SYSTEM, conversation_pb2.ROLE_DEVELOPER}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is to be summarized: items, and the summary of those before them."""

    thread: pb.Thread
    items: Sequence[pb.Item]
    previous: pb.Item | None


async def summarize_thread(
    context: str, inference: str, name: str, *, model: str, up_to: int | None, as_json: bool
) -> None:
    """Summarize what stands in front of the newest turn, or up to the item `up_to`, and write the summary.

    A thread that has a summary is summarized from its end on. Nothing is added unless the model has said all of it.
    Raises `ThreadNotFound`, `ModelNotFound`, `ThreadBusy`, `ThreadChanged`, and what the model's service raises.
    """
    async with reached(context, peer="context") as threads:
        found = await _found(threads, name, up_to=up_to)
        if not found.items:
            _nothing(found, as_json=as_json)
            return
        with progress("pieces") as bar:
            async with reached(inference, peer="inference") as models:
                text, tokens = await _summary(models, found, model=model, bar=bar)
        request = _request(found, text, tokens)
        item = await persist(partial(_append, threads, request), seconds=_BUSY_SECONDS, budget=unshared())
    _show(found.thread, item, as_json=as_json)


async def _found(channel: MeshChannel, name: str, *, up_to: int | None) -> _Found:
    thread = await find_thread(channel, name)
    previous = await _item(channel, thread, thread.summary) if thread.HasField("summary") else None
    after = None
    if previous:
        after = previous.covers.last if previous.HasField("covers") else previous.sequence
    said: list[pb.Item] = []
    async with aclosing(list_items(channel, thread.id, after=after)) as items:
        async for item in items:
            if up_to is not None and item.sequence > up_to:
                break
            if item.message.role not in _INSTRUCTIONS and item.kind != pb.ITEM_KIND_SUMMARY:
                said.append(item)
    return _Found(thread=thread, items=said if up_to is not None else _before_newest_turn(said), previous=previous)


async def _item(channel: MeshChannel, thread: pb.Thread, number: int) -> pb.Item | None:
    async with aclosing(list_items(channel, thread.id, after=number - 1 if number else None)) as items:
        async for item in items:
            return item if item.sequence == number else None
    return None


def _before_newest_turn(items: Sequence[pb.Item]) -> Sequence[pb.Item]:
    asked = [place for place, item in enumerate(items) if item.message.role == conversation_pb2.ROLE_USER]
    return items[: asked[-1]] if asked else []


async def _summary(channel: MeshChannel, found: _Found, *, model: str, bar: Bar) -> tuple[str, int]:
    """Give the summary and its tokens. A long conversation is read in pieces, each with the summary of those before."""
    asked = await _model(channel, model)
    room = room_of(asked.context_tokens)
    transcript = list(pieces((decode_message(item.message) for item in found.items), tokens=room.piece))
    bar.expect(len(transcript))
    text = found.previous.message.parts[0].text if found.previous and found.previous.message.parts else ""
    for piece in transcript:
        messages = prompt(piece, so_far=text, answer_tokens=room.answer)
        text = await _generated(channel, asked.name, messages, most=room.answer)
        bar.advance(1)
    request = inference_pb.CountTokensRequest(model=asked.name, text=text)
    count = await InferenceServiceStub(channel).CountTokens(request, timeout=SECONDS)
    return text, count.tokens + _AROUND


async def _model(channel: MeshChannel, name: str) -> inference_pb.Model:
    for model in await list_models(channel):
        can_write = not model.capabilities or inference_pb.CAPABILITY_GENERATE in model.capabilities
        if can_write and name in {"", model.name}:
            return model
    raise ModelNotFound(f"There is no model named {name!r} that writes; see `threadmesh status`.", model=name)


async def _generated(channel: MeshChannel, model: str, messages: Sequence[Message], *, most: int) -> str:
    request = inference_pb.GenerateRequest(
        model=model,
        messages=map(encode_message, messages),
        max_tokens=most,
        priority=inference_pb.PRIORITY_BACKGROUND,
    )
    call = InferenceServiceStub(channel).Generate(request)
    async with aclosing(translated_stream(call, peer="inference", silence_seconds=_SILENCE_SECONDS)) as responses:
        written = "".join([response.text_delta.text async for response in responses]).strip()
    if not written:
        raise MeshError("The model wrote no summary, and nothing was changed; try another model.")
    return written


def _request(found: _Found, text: str, tokens: int) -> pb.AppendSummaryRequest:
    return pb.AppendSummaryRequest(
        thread_id=found.thread.id,
        items=pb.ItemRange(first=found.items[0].sequence, last=found.items[-1].sequence),
        previous_summary=found.previous.sequence if found.previous else None,
        text=text,
        tokens=tokens,
        request_id=uuid4().hex,
    )


async def _append(channel: MeshChannel, request: pb.AppendSummaryRequest) -> pb.Item:
    async with translated("context"):
        response = await ThreadsServiceStub(channel).AppendSummary(request, timeout=SECONDS)
    return response.item


def _nothing(found: _Found, *, as_json: bool) -> None:
    if as_json:
        print_json(None)
        return
    name = one_line(found.thread.key or found.thread.id)
    stdout().print(f"There is nothing new to summarize in {name} before its newest turn.", markup=False)


def _show(thread: pb.Thread, item: pb.Item, *, as_json: bool) -> None:
    text = item.message.parts[0].text
    if as_json:
        covers = {"first": item.covers.first, "last": item.covers.last}
        print_json({"thread": thread.id, "sequence": item.sequence, "covers": covers, "text": text})
        return
    console = stdout()
    console.print(printable(text), markup=False)
    name = one_line(thread.key or thread.id)
    console.print(
        f"\nItem {item.sequence} of {name} stands for items {item.covers.first} to {item.covers.last}.", markup=False
    )
