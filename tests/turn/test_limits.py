"""How long a turn may take, and what the other units are told of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError

from inference_svc.adapters.script import read_script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.router import Router
from inference_svc.edge.servicer import InferenceServicer
from tests.turn.mesh import KEY, OTHER_KEY, SCRIPT, Mesh, running, served
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from threadmesh.keys.key import digest, id_of
from threadmesh.rpc import deadline
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit

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


@asynccontextmanager
async def noted(tmp_path: Path, **changed: Any) -> AsyncIterator[tuple[Mesh, Noting]]:
    router = Router([ScriptedBackend(read_script(SCRIPT), created=1)])
    servicer = Noting(router)

    @asynccontextmanager
    async def app(*_: object) -> AsyncIterator[Unit]:
        name = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name
        service = Service(servicer=servicer, add=add_InferenceServiceServicer_to_server, name=name)
        yield Unit(services=[service], ping=router.ping)

    async with AsyncExitStack() as stack:
        target = f"127.0.0.1:{await served(stack, app, None)}"
        yield await stack.enter_async_context(running(tmp_path, inference_target=target, **changed)), servicer


async def test_a_model_is_told_how_long_the_turn_may_take(tmp_path: Path) -> None:
    async with noted(tmp_path, turn_seconds=60) as (mesh, servicer):
        await mesh.openai.chat.completions.create(model="scripted", messages=HELLO)

    (remaining,) = servicer.remaining
    assert remaining is not None
    assert 0 < remaining <= 70


async def test_an_engine_tells_keys_apart_also_where_they_share_prompts(tmp_path: Path) -> None:
    async with noted(tmp_path, share_prompts=True, wait_for_tools=False) as (mesh, servicer):
        for key in (KEY, OTHER_KEY):
            client = mesh.openai.with_options(api_key=key)
            await client.chat.completions.create(model="scripted", messages=HELLO)
            await client.responses.create(model="scripted", input="hello")

    assert {request.cache_scope for request in servicer.asked} == {""}
    mine, theirs = digest(KEY)[:16], f"tm_{id_of(OTHER_KEY)}"
    assert [request.caller for request in servicer.asked] == [mine, mine, theirs, theirs]
