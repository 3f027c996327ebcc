"""Answers that the request foresees, as OpenAI's own client asks for them."""

from typing import Any

import pytest
from openai import APIStatusError

from tests.turn.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: list[Any] = [{"role": "user", "content": "one two three four"}]


async def details(mesh: Mesh, content: Any, **more: Any) -> Any:
    prediction: Any = {"type": "content", "content": content}
    answer = await mesh.openai.chat.completions.create(model="scripted", messages=HELLO, prediction=prediction, **more)
    assert {choice.message.content for choice in answer.choices} == {"You said: one two three four"}
    return answer.usage.completion_tokens_details


async def test_usage_tells_how_much_of_a_prediction_came_true(mesh: Mesh) -> None:
    right = await details(mesh, "You said: one two three four")
    half = await details(mesh, [{"type": "text", "text": "You said: one "}, {"type": "text", "text": "more thing"}])

    assert (right.accepted_prediction_tokens, right.rejected_prediction_tokens) == (6, 0)
    assert (half.accepted_prediction_tokens, half.rejected_prediction_tokens) == (3, 2)


async def test_each_of_several_answers_is_compared_with_the_prediction(mesh: Mesh) -> None:
    both = await details(mesh, "You said: something", n=2)

    assert (both.accepted_prediction_tokens, both.rejected_prediction_tokens) == (4, 4)


async def test_a_prediction_of_another_kind_is_refused(mesh: Mesh) -> None:
    wrong: Any = {"type": "image", "content": "a"}
    with pytest.raises(APIStatusError) as caught:
        await mesh.openai.chat.completions.create(model="scripted", messages=HELLO, prediction=wrong)

    assert (caught.value.status_code, caught.value.param) == (400, "prediction.type")
