"""Stored completions as OpenAI's own client sees them, over the real units."""

from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError
from openai.types.chat import ChatCompletion

from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.forget_logs import forget_logs
from tests.turn.mesh import OTHER_KEY, Mesh, running
from threadmesh.clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(mesh: Mesh, text: str = "hello", **request: Any) -> ChatCompletion:
    messages: list[Any] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": text}]
    found: ChatCompletion = await mesh.openai.chat.completions.create(
        **{"model": "scripted", "messages": messages, "store": True, **request}
    )
    return found


async def listed(mesh: Mesh, **wanted: Any) -> list[str]:
    return [each.id async for each in await mesh.openai.chat.completions.list(**wanted)]


async def refused(asked: Any) -> APIStatusError:
    with pytest.raises(APIStatusError) as refusal:
        await asked
    return refusal.value


async def test_a_stored_completion_is_given_again_as_it_was(mesh: Mesh) -> None:
    for text in ("hello", "think", "only mine"):
        tools: Any = [{"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}]
        answer = await ask(mesh, text, metadata={"a": "b"}, tools=tools)
        again = await mesh.openai.chat.completions.retrieve(answer.id)

        assert again.model_dump() == {**answer.model_dump(), "metadata": {"a": "b"}}


async def test_a_stream_can_be_stored(mesh: Mesh) -> None:
    stream = await mesh.openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "hello"}], store=True, stream=True
    )
    chunks = [chunk async for chunk in stream]

    again = await mesh.openai.chat.completions.retrieve(chunks[0].id)
    assert again.choices[0].message.content == "You said: hello"


@pytest.mark.parametrize("request_fields", [{"store": False}, {"store": None}, {"metadata": {"thread_key": "named"}}])
async def test_what_is_not_stored_or_is_part_of_a_thread_is_not_there(
    mesh: Mesh, request_fields: dict[str, Any]
) -> None:
    answer = await ask(mesh, **request_fields)

    error = await refused(mesh.openai.chat.completions.retrieve(answer.id))
    assert (error.status_code, error.code) == (404, "completion_not_found")
    assert answer.id not in await listed(mesh)


async def test_one_that_failed_is_not_there(mesh: Mesh) -> None:
    before = await listed(mesh)

    await refused(ask(mesh, "break"))

    assert await listed(mesh) == before


async def test_they_are_listed_by_age_in_pages_with_what_they_have(mesh: Mesh) -> None:
    names = [(await ask(mesh, str(number), metadata={"set": "one", "n": str(number)})).id for number in range(5)]

    for limit in (1, 2, 5):
        assert await listed(mesh, metadata={"set": "one"}, limit=limit) == names
        assert await listed(mesh, metadata={"set": "one"}, limit=limit, order="desc") == names[::-1]
    assert await listed(mesh, metadata={"set": "one"}, after=names[2]) == names[3:]
    assert await listed(mesh, metadata={"set": "one", "n": "3"}) == [names[3]]
    assert await listed(mesh, metadata={"set": "one"}, model="scripted") == names
    assert await listed(mesh, metadata={"set": "one"}, model="another") == []


async def test_null_leaves_no_metadata(mesh: Mesh) -> None:
    name = (await ask(mesh, metadata={"set": "gone"})).id

    changed = await mesh.openai.chat.completions.update(name, metadata=None)

    assert changed.model_dump()["metadata"] == {}
    assert (await mesh.openai.chat.completions.retrieve(name)).model_dump()["metadata"] == {}


async def test_its_metadata_is_replaced_and_its_place_stays(mesh: Mesh) -> None:
    names = [(await ask(mesh, metadata={"set": "two"})).id for _ in range(2)]
    changed = await mesh.openai.chat.completions.update(names[0], metadata={"set": "two", "new": "1"})

    again = await mesh.openai.chat.completions.retrieve(names[0])
    assert changed.model_dump() == again.model_dump()
    assert again.model_dump()["metadata"] == {"set": "two", "new": "1"}
    assert await listed(mesh, metadata={"set": "two"}) == names


async def test_a_deleted_one_is_gone(mesh: Mesh) -> None:
    answer = await ask(mesh, metadata={"set": "three"})

    gone = await mesh.openai.chat.completions.delete(answer.id)

    assert (gone.id, gone.object, gone.deleted) == (answer.id, "chat.completion.deleted", True)
    assert (await refused(mesh.openai.chat.completions.retrieve(answer.id))).status_code == 404
    assert await listed(mesh, metadata={"set": "three"}) == []


async def test_its_messages_are_listed_in_pages(mesh: Mesh) -> None:
    answer = await ask(mesh)
    messages = mesh.openai.chat.completions.messages

    for limit in (1, 20):
        found = [each async for each in await messages.list(answer.id, limit=limit)]
        assert [(each.role, each.content) for each in found] == [("system", "be kind"), ("user", "hello")]
        assert [each.id for each in found] == [f"{answer.id}-0", f"{answer.id}-1"]
    latest = await messages.list(answer.id, order="desc", limit=1)
    assert (latest.data[0].content, latest.has_more) == ("hello", True)


async def test_a_stored_completion_of_another_tenant_is_not_there(mesh: Mesh) -> None:
    answer = await ask(mesh, metadata={"set": "four"})
    completions = mesh.openai.with_options(api_key=OTHER_KEY).chat.completions

    for asked in (
        completions.retrieve(answer.id),
        completions.update(answer.id, metadata={}),
        completions.delete(answer.id),
        completions.messages.list(answer.id),
    ):
        assert (await refused(asked)).status_code == 404
    assert (await refused(completions.list(after=answer.id))).status_code == 400
    assert (await completions.list(metadata={"set": "four"})).data == []


async def test_it_is_there_when_the_log_of_its_run_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path, workshop=False) as mesh:
        answer = await ask(mesh, "think")
        async with sqlite_store(tmp_path / "context.db", SystemClock()) as store:
            assert await forget_logs([answer.id.replace("chatcmpl-", "run_")], store=store) == 1

        log = f"/chat/completions/{answer.id}/stream"
        assert (await refused(mesh.openai.get(log, cast_to=object))).status_code == 410
        again = await mesh.openai.chat.completions.retrieve(answer.id)

        assert (again.choices, again.usage, again.model) == (answer.choices, answer.usage, answer.model)
        assert await listed(mesh) == [answer.id]
