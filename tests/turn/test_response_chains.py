"""Responses that go on behind others, as OpenAI's own client sees them."""

import asyncio
from typing import Any

import pytest
from openai import APIStatusError, BadRequestError, NotFoundError

from tests.turn.mesh import Mesh
from tests.turn.test_responses import ask, raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_two_ways_to_go_on_do_not_hear_of_each_other(mesh: Mesh) -> None:
    first = await ask(mesh, "one")
    left = await ask(mesh, "a long way to go on with it", previous_response_id=first.id)
    right = await ask(mesh, "two", previous_response_id=first.id)
    further = await ask(mesh, "two", previous_response_id=left.id)

    assert right.usage is not None
    assert further.usage is not None
    assert right.usage.input_tokens < further.usage.input_tokens


async def test_a_thread_that_is_named_beside_the_response_before_is_named_as_ignored(mesh: Mesh) -> None:
    first = await ask(mesh, "one", extra_headers={"x-thread-key": "mine"})
    asked: dict[str, Any] = {"model": "scripted", "input": "two", "previous_response_id": first.id}
    same, other, unknown = [
        await raw(mesh, "/v1/responses", "POST", **asked, metadata={"thread_key": key})
        for key in ("mine", "theirs", "theirs")
    ]

    assert "x-threadmesh-ignored" not in same.headers
    assert other.headers["x-threadmesh-ignored"] == unknown.headers["x-threadmesh-ignored"] == "metadata.thread_key"


@pytest.mark.parametrize("stored", [True, False])
async def test_ways_to_go_on_that_are_begun_at_once_do_not_hear_of_each_other(mesh: Mesh, stored: bool) -> None:
    first = await ask(mesh, "one")
    asked = [f"{name} way to go on" for name in ("a second", "a third", "a fourth")]
    ways = await asyncio.gather(*(ask(mesh, each, previous_response_id=first.id, store=stored) for each in asked))

    usages = [way.usage.input_tokens for way in ways if way.usage]
    alone = await ask(mesh, asked[0], previous_response_id=first.id)
    assert alone.usage is not None
    assert max(usages) <= alone.usage.input_tokens
    assert [way.output_text for way in ways] == [f"You said: {each}" for each in asked]


async def test_a_response_is_deleted_alone_and_the_others_of_its_chain_go_on(mesh: Mesh) -> None:
    first = await ask(mesh, "one")
    second = await ask(mesh, "two", previous_response_id=first.id)
    last = await ask(mesh, "three", previous_response_id=second.id)
    await mesh.openai.responses.delete(first.id)
    await mesh.openai.responses.delete(last.id)

    for gone in (first.id, last.id):
        with pytest.raises(NotFoundError):
            await mesh.openai.responses.retrieve(gone)
        with pytest.raises(BadRequestError):
            await ask(mesh, "four", previous_response_id=gone)
    assert (await mesh.openai.responses.retrieve(second.id)).output_text == "You said: two"
    listed = await mesh.openai.responses.input_items.list(second.id, order="asc")
    assert len(listed.data) == 3
    further = await ask(mesh, "four", previous_response_id=second.id)
    both = [each.usage.input_tokens for each in (further, last) if each.usage]
    assert both[0] == both[1]  # it has not heard of the third

    await mesh.openai.responses.delete(further.id)
    await mesh.openai.responses.delete(second.id)
    with pytest.raises(NotFoundError):
        await mesh.openai.responses.delete(second.id)


async def test_what_the_model_was_told_is_listed_in_pages(mesh: Mesh) -> None:
    first = await ask(mesh, "one")
    second = await ask(mesh, [{"role": "user", "content": "two"}], previous_response_id=first.id)
    fork = await ask(mesh, "three", previous_response_id=first.id)

    async def told(name: str, **page: Any) -> list[str]:
        listed = await mesh.openai.responses.input_items.list(name, order="asc", **page)
        items = [item.model_dump() async for item in listed]
        return ["".join(part["text"] for part in item["content"]) for item in items]

    assert await told(first.id) == ["one"]
    assert await told(second.id) == ["one", "You said: one", "two"]
    assert await told(fork.id, limit=1) == ["one", "You said: one", "three"]
    latest = await mesh.openai.responses.input_items.list(second.id, limit=1)
    assert latest.data[0].model_dump()["content"][0]["text"] == "two"


async def test_a_thread_that_is_too_long_is_shortened_or_refused(mesh: Mesh) -> None:
    first = await ask(mesh, "word " * 250, max_output_tokens=8)
    shortened = await ask(mesh, "word " * 250, previous_response_id=first.id, max_output_tokens=8)

    assert shortened.usage is not None
    assert shortened.usage.input_tokens < 500
    with pytest.raises(APIStatusError) as caught:
        await ask(mesh, "word " * 250, previous_response_id=shortened.id, max_output_tokens=8, truncation="disabled")
    assert (caught.value.status_code, caught.value.code) == (400, "context_length_exceeded")
