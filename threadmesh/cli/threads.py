"""`threadmesh threads`: which conversations there are, and what was said in one."""

from contextlib import aclosing
from datetime import UTC
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.cli.calls import find_thread, list_items, list_threads, reached
from threadmesh.cli.output import one_line, print_json, print_table, printable, stdout
from threadmesh.cli.tools import result_text
from threadmesh.codec import decode_message
from threadmesh.conversation import Message, Role

_PROVENANCES = {1: "operator", 2: "user", 3: "model", 4: "tool", 5: "imported"}
_STYLES = {Role.USER: "bold cyan", Role.ASSISTANT: "bold green", Role.TOOL: "bold magenta"}


async def show_threads(target: str, *, prefix: str, as_json: bool) -> None:
    """Write the threads whose key begins with `prefix`, the latest used first."""
    async with reached(target, peer="context") as channel, aclosing(list_threads(channel, prefix=prefix)) as found:
        threads = [thread async for thread in found]
    if as_json:
        print_json([_thread(thread) for thread in threads])
        return
    rows = [
        [thread.key or "-", thread.id, str(thread.item_count), _local(thread.update_time), thread.active_run_id or "-"]
        for thread in threads
    ]
    print_table(["key", "id", "items", "last used", "active run"], rows)


async def show_thread(target: str, name: str, *, as_json: bool) -> None:
    """Write what was said in the thread with this id or key."""
    async with reached(target, peer="context") as channel:
        thread = await find_thread(channel, name)
        async with aclosing(list_items(channel, thread.id)) as found:
            items = [item async for item in found]
    if as_json:
        print_json({**_thread(thread), "items": [_item(item) for item in items]})
        return
    console = stdout()
    title = f"{thread.key or thread.id}: {thread.item_count} items, last used {_local(thread.update_time)}"
    console.print(printable(title), style="bold", markup=False)
    for item in items:
        _show_item(console, item)


def _show_item(console: Console, item: pb.Item) -> None:
    message = decode_message(item.message)
    note = " (incomplete)" if item.status == pb.ITEM_STATUS_INCOMPLETE else ""
    note += " (pinned)" if item.pinned else ""
    note += f" (summary of {item.covers.first} to {item.covers.last})" if item.HasField("covers") else ""
    who = f"{message.role}{f' {message.name}' if message.name else ''}"
    heading = f"[{item.sequence}] {who}, {_local(item.create_time)}{note}"
    console.print()
    console.print(one_line(heading), style=_STYLES.get(message.role, "bold"), markup=False)
    for line in transcript(message):
        console.print(line, markup=False)


def transcript(message: Message) -> list[str]:
    """Write a message for reading: its text, then the tools it asks for, or the call it answers."""
    lines = [f"  ← {message.tool_call_id}"] if message.tool_call_id else []
    text = printable(result_text(message.parts))
    lines += [f"  {line}" for line in text.splitlines()]
    lines += [f"  → {call.name} {one_line(call.arguments_json)}  ({call.id})" for call in message.tool_calls]
    return lines


def _thread(thread: pb.Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "key": thread.key,
        "metadata": dict(thread.metadata),
        "create_time": _iso(thread.create_time),
        "update_time": _iso(thread.update_time),
        "items": thread.item_count,
        "active_run_id": thread.active_run_id,
    }


def _item(item: pb.Item) -> dict[str, Any]:
    message = decode_message(item.message)
    return {
        "sequence": item.sequence,
        "role": str(message.role),
        "text": message.text,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments_json} for call in message.tool_calls
        ],
        "tool_call_id": message.tool_call_id,
        "provenance": _PROVENANCES.get(item.provenance, ""),
        "run_id": item.run_id,
        "create_time": _iso(item.create_time),
        "complete": item.status != pb.ITEM_STATUS_INCOMPLETE,
        "pinned": item.pinned,
        "covers": {"first": item.covers.first, "last": item.covers.last} if item.HasField("covers") else None,
    }


def _iso(time: Timestamp) -> str:
    return time.ToJsonString()


def _local(time: Timestamp) -> str:
    """Write a time as the person's own clock shows it."""
    return time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
