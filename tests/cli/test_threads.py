import asyncio
import json
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tests.cli.conftest import CommandLine
from tests.cli.servers import serving, threads_service
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation


def time() -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    return stamp


def thread(number: int, key: str) -> pb.Thread:
    return pb.Thread(id=f"thread-{number}", key=key, item_count=4, create_time=time(), update_time=time())


def item(sequence: int, role: conversation.Role.ValueType, text: str, **more: object) -> pb.Item:
    parts = [conversation.Part(text=text)] if text else []
    message = conversation.Message(role=role, parts=parts, **more)  # type: ignore[arg-type]  # the test's own shorthand
    return pb.Item(sequence=sequence, message=message, create_time=time(), provenance=pb.PROVENANCE_USER)


THREADS = [thread(1, "me:notes"), thread(2, "me:notes:old"), thread(3, "discord:1:2"), thread(4, "")]
CALL = conversation.ToolCall(id="call-1", name="time__now", arguments_json='{"zone": "UTC"}')
ITEMS = [
    item(0, conversation.ROLE_USER, "What time\nis it?"),
    item(1, conversation.ROLE_ASSISTANT, "", tool_calls=[CALL]),
    item(2, conversation.ROLE_TOOL, "noon\x1b[2J", tool_call_id="call-1"),
    item(3, conversation.ROLE_ASSISTANT, "It is [b]noon."),
]


async def test_all_pages_of_threads_are_listed(threadmesh: CommandLine) -> None:
    async with serving(threads_service(THREADS)) as target:
        ran = await asyncio.to_thread(threadmesh, "threads", "list", "--target", target)

    assert ran.status == 0
    assert [f"thread-{number}" in ran.out for number in range(1, 5)] == [True] * 4


async def test_a_prefix_keeps_only_its_threads(threadmesh: CommandLine) -> None:
    async with serving(threads_service(THREADS)) as target:
        ran = await asyncio.to_thread(threadmesh, "threads", "list", "--prefix", "me:", "--json", "--target", target)

    body = json.loads(ran.out)
    assert [each["key"] for each in body] == ["me:notes", "me:notes:old"]
    assert body[0]["update_time"] == "2026-01-02T03:04:05Z"


async def test_a_transcript_shows_calls_and_results_by_id_and_by_key_alike(threadmesh: CommandLine) -> None:
    async with serving(threads_service(THREADS, ITEMS)) as target:
        by_id = await asyncio.to_thread(threadmesh, "threads", "show", "thread-1", "--target", target)
        by_key = await asyncio.to_thread(threadmesh, "threads", "show", "me:notes", "--target", target)

    assert by_id == by_key
    assert by_id.out.startswith("me:notes: 4 items")
    assert "\n\n[0] user, 2026" in by_id.out
    assert "  What time\n  is it?\n" in by_id.out
    assert '  → time__now {"zone": "UTC"}  (call-1)\n' in by_id.out
    assert "  ← call-1\n  noon[2J\n" in by_id.out
    assert "  It is [b]noon.\n" in by_id.out


async def test_a_thread_as_json_holds_every_item(threadmesh: CommandLine) -> None:
    async with serving(threads_service(THREADS, ITEMS)) as target:
        ran = await asyncio.to_thread(threadmesh, "threads", "show", "me:notes", "--json", "--target", target)

    body = json.loads(ran.out)
    assert body["id"] == "thread-1"
    assert [each["sequence"] for each in body["items"]] == [0, 1, 2, 3]
    assert body["items"][1]["tool_calls"] == [{"id": "call-1", "name": "time__now", "arguments": '{"zone": "UTC"}'}]


async def test_a_thread_that_is_not_there_ends_with_1(threadmesh: CommandLine) -> None:
    async with serving(threads_service(THREADS)) as target:
        ran = await asyncio.to_thread(threadmesh, "threads", "show", "me:note", "--target", target)

    assert ran.status == 1
    assert "no thread with the id or key 'me:note'" in ran.err
