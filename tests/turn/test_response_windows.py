"""What a model would read for a response, counted and in short, as OpenAI's own client asks for it."""

from typing import Any, cast

import pytest
from openai import APIStatusError
from openai.types.responses import Response

from tests.turn.mesh import OTHER_KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

FUNCTION: Any = {"type": "function", "name": "mine", "parameters": {"type": "object"}, "strict": False}
WORKSHOP: Any = {"type": "mcp", "server_label": "workshop", "require_approval": "never"}


async def counted(mesh: Mesh, **asked: Any) -> int:
    found = await mesh.openai.responses.input_tokens.count(model="scripted", **asked)
    assert found.object == "response.input_tokens"
    return found.input_tokens


async def test_the_count_is_what_the_response_will_say(mesh: Mesh) -> None:
    asked: Any = {"input": "How are you today?", "instructions": "Be brief.", "tools": [FUNCTION, WORKSHOP]}
    tokens = await counted(mesh, **asked)
    response = await mesh.openai.responses.create(model="scripted", **asked)

    assert response.usage is not None
    assert tokens == response.usage.input_tokens
    assert await counted(mesh, input=asked["input"]) < tokens
    assert await counted(mesh, **asked, tool_choice="none") < tokens


async def test_what_was_said_before_is_counted(mesh: Mesh) -> None:
    first = await mesh.openai.responses.create(model="scripted", input="one two three")
    tokens = await counted(mesh, input="four", previous_response_id=first.id)
    second = await mesh.openai.responses.create(model="scripted", input="four", previous_response_id=first.id)

    assert second.usage is not None
    assert tokens == second.usage.input_tokens
    assert await counted(mesh, previous_response_id=first.id) < tokens
    assert await counted(mesh) == 0


def say(text: str, role: str = "user") -> Any:
    return {"role": role, "content": text}


async def ask(mesh: Mesh, said: Any, **asked: Any) -> Response:
    return cast("Response", await mesh.openai.responses.create(model="scripted", input=said, **asked))


LONG = [say("word " * 350), say("Go on.", "assistant"), say("word " * 230)]


async def test_the_oldest_of_an_input_that_is_too_long_is_left_out(mesh: Mesh) -> None:
    response = await ask(mesh, [say("Be brief.", "developer"), *LONG], max_output_tokens=8, truncation="auto")
    usual = await ask(mesh, LONG, max_output_tokens=8)

    assert response.usage is not None
    assert usual.usage is not None
    assert 230 < usual.usage.input_tokens < response.usage.input_tokens < 250
    assert response.output_text.startswith("You said: word")


async def test_an_input_of_which_everything_fits_is_read_whole(mesh: Mesh) -> None:
    """The room that is kept for an answer is no reason to leave something out."""
    response = await ask(mesh, [say("word " * 200), say("Go on.", "assistant"), say("word " * 230)])

    assert response.usage is not None
    assert response.usage.input_tokens > 430


@pytest.mark.parametrize(
    ("said", "asked"),
    [(LONG, {"truncation": "disabled"}), ([*LONG[:2], say("word " * 600)], {"truncation": "auto"})],
)
async def test_an_input_that_is_too_long_is_refused_where_nothing_may_go(mesh: Mesh, said: Any, asked: Any) -> None:
    with pytest.raises(APIStatusError) as caught:
        await ask(mesh, said, max_output_tokens=8, **asked)
    assert (caught.value.status_code, caught.value.code) == (400, "context_length_exceeded")


async def test_a_conversation_comes_back_in_short_and_goes_on(mesh: Mesh) -> None:
    before: Any = [
        {"role": "developer", "content": "Speak like a sailor."},
        {"role": "user", "content": "The ship is called Ada."},
        {"role": "assistant", "content": "Aye."},
        {"role": "user", "content": "What now?"},
    ]
    made = await mesh.openai.responses.compact(model="scripted", input=before)
    first, short, last = made.output

    assert made.object == "response.compaction"
    assert (first.type, short.type, last.type) == ("message", "compaction", "message")
    assert made.usage.output_tokens > 0
    window: Any = [item.model_dump(exclude_none=True, warnings=False) for item in made.output]
    response = await mesh.openai.responses.create(model="scripted", input=window)
    listed = [item async for item in mesh.openai.responses.input_items.list(response.id, order="asc")]
    told: Any = [item.content[0].text for item in listed]  # type: ignore[union-attr,index]  # messages with texts

    assert response.output_text == "You said: What now?"
    assert [item.role for item in listed] == ["developer", "user", "assistant", "user"]  # type: ignore[union-attr]
    assert told[0] == "Speak like a sailor."
    assert "The ship is called Ada." in told[2]
    assert "retells" in told[2]


async def test_a_response_is_compacted_with_what_came_before(mesh: Mesh) -> None:
    first = await mesh.openai.responses.create(model="scripted", input="My name is Bo.")
    made = await mesh.openai.responses.compact(model="scripted", previous_response_id=first.id)

    assert [item.type for item in made.output] == ["compaction"]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": "Nobody answered yet."}, "input"),
        ({}, "input"),
        ({"previous_response_id": "resp_nobody"}, "previous_response_id"),
    ],
)
async def test_what_cannot_be_compacted_is_refused(mesh: Mesh, asked: dict[str, Any], param: str) -> None:
    with pytest.raises(APIStatusError) as caught:
        await mesh.openai.responses.compact(model="scripted", **asked)

    assert (caught.value.status_code, caught.value.param) == (400, param)


async def test_anothers_response_is_neither_counted_nor_compacted(mesh: Mesh) -> None:
    first = await mesh.openai.responses.create(model="scripted", input="secret")
    other = mesh.openai.with_options(api_key=OTHER_KEY)
    for ask in (other.responses.compact, other.responses.input_tokens.count):
        with pytest.raises(APIStatusError) as caught:
            await ask(model="scripted", previous_response_id=first.id)
        assert caught.value.status_code == 400


async def test_a_compaction_that_was_not_made_here_is_refused(mesh: Mesh) -> None:
    item: Any = {"type": "compaction", "encrypted_content": "bm90IG91cnM="}
    with pytest.raises(APIStatusError, match="not made here") as caught:
        await mesh.openai.responses.create(model="scripted", input=[item])

    assert caught.value.param == "input[0].encrypted_content"


async def test_nothing_is_left_out_of_a_whole_thread_that_the_model_finds_longer_than_it_was_taken_for(
    mesh: Mesh,
) -> None:
    """Short words are more tokens than their letters would tell, and nobody counts them in a thread of its own."""
    words = "a " * 270
    first = await ask(mesh, words, max_output_tokens=1)
    with pytest.raises(APIStatusError) as caught:
        await ask(mesh, words, previous_response_id=first.id, max_output_tokens=1, truncation="disabled")
    shortened = await ask(mesh, words, previous_response_id=first.id, max_output_tokens=1)

    assert shortened.usage is not None
    assert shortened.usage.input_tokens < 300
    assert (caught.value.status_code, caught.value.code) == (400, "context_length_exceeded")
