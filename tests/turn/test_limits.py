"""How long a turn may take, and what the other units are told of it."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError

from inference_svc.domain.router import Router
from inference_svc.edge.servicer import InferenceServicer
from tests.turn.engine import running_with
from tests.turn.mesh import KEY, OTHER_KEY, running
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.keys.key import digest, id_of
from threadmesh.rpc import deadline

HANG: Any = [{"role": "user", "content": "hang"}]
HELLO: Any = [{"role": "user", "content": "hello"}]


class Noting(InferenceServicer):
    """The real servicer, which also notes what is asked, and how long each answer may take."""

    def __init__(self, router: Router) -> None:
        super().__init__(router)
        self.remaining: list[float | None] = []
        self.asked: list[Any] = []

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        self.remaining.append(deadline.remaining())
        self.asked.append(request)
        async with aclosing(super().Generate(request, context)) as responses:  # type: ignore[type-var]  # a generator
            async for response in responses:
                yield response


async def test_a_turn_that_takes_too_long_is_a_504_and_its_thread_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, turn_seconds=1) as mesh:
        create = mesh.openai.chat.completions.create
        with pytest.raises(APIStatusError) as caught:
            await create(model="scripted", messages=HANG, metadata={"thread_key": "k"})

        assert caught.value.status_code == 504
        again = await create(model="scripted", messages=HELLO, metadata={"thread_key": "k"})
        assert again.choices[0].finish_reason == "stop"


async def test_a_model_is_told_how_long_the_turn_may_take(tmp_path: Path) -> None:
    async with running_with(Noting, tmp_path, turn_seconds=60) as (mesh, servicer):
        await mesh.openai.chat.completions.create(model="scripted", messages=HELLO)

    (remaining,) = servicer.remaining
    assert remaining is not None
    assert 0 < remaining <= 70


async def test_an_engine_tells_keys_apart_also_where_they_share_prompts(tmp_path: Path) -> None:
    async with running_with(Noting, tmp_path, share_prompts=True, workshop=False) as (mesh, servicer):
        for key in (KEY, OTHER_KEY):
            client = mesh.openai.with_options(api_key=key)
            await client.chat.completions.create(model="scripted", messages=HELLO)
            await client.responses.create(model="scripted", input="hello")

    assert {request.cache_scope for request in servicer.asked} == {""}
    mine, theirs = digest(KEY)[:16], f"tm_{id_of(OTHER_KEY)}"
    assert [request.caller for request in servicer.asked] == [mine, mine, theirs, theirs]
