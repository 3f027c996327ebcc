"""Vectors as OpenAI's own client asks for them, over the real units and a real, tiny model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError

from inference_svc.app import app as inference_app
from inference_svc.domain.router import Router
from inference_svc.edge.servicer import InferenceServicer
from inference_svc.settings import InferenceSettings
from tests.inference_svc.tiny_models import DIMENSIONS, tiny_encoder
from tests.turn.engine import running_with
from tests.turn.mesh import Mesh, running, served
from threadmesh.api.inference.v1 import inference_service_pb2 as pb


class Endless(InferenceServicer):
    """The real servicer, whose vectors take until they are no longer wanted."""

    def __init__(self, router: Router) -> None:
        super().__init__(router)
        self.begun = asyncio.Event()
        self.stopped = asyncio.Event()

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
        raise AssertionError


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    tiny_encoder(tmp_path / "encoder.gguf")
    (tmp_path / "models.toml").write_text('[models.vectors]\npath = "encoder.gguf"\n')
    settings = InferenceSettings(models_file=str(tmp_path / "models.toml"), state_dir=tmp_path / "inference")
    async with AsyncExitStack() as stack:
        port = await served(stack, inference_app, settings)
        target = f"127.0.0.1:{port}"
        yield await stack.enter_async_context(running(tmp_path, inference_target=target, workshop=False))


async def test_texts_become_vectors_in_their_order_in_either_form(mesh: Mesh) -> None:
    packed = await mesh.openai.embeddings.create(model="vectors", input=["a b", "c"])
    plain = await mesh.openai.embeddings.create(model="vectors", input=["a b", "c"], encoding_format="float")
    one = await mesh.openai.embeddings.create(model="vectors", input="c", dimensions=2)

    assert [each.index for each in packed.data] == [0, 1]
    assert [len(each.embedding) for each in packed.data] == [DIMENSIONS] * 2
    for each, other in zip(packed.data, plain.data, strict=True):
        assert each.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert packed.data[0].embedding != packed.data[1].embedding
    assert len(one.data[0].embedding) == 2
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > one.usage.prompt_tokens > 0


@pytest.mark.parametrize(
    ("wrong", "param"), [({"input": [[1, 2]]}, "input"), ({"input": ""}, "input"), ({"input": []}, "input")]
)
async def test_what_is_no_text_is_refused(mesh: Mesh, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(APIStatusError) as caught:
        await mesh.openai.embeddings.create(**{"model": "vectors", **wrong})

    assert (caught.value.status_code, caught.value.param) == (400, param)


async def test_the_model_that_made_the_vectors_is_named_also_where_none_was_asked_for(mesh: Mesh) -> None:
    answer = await mesh.openai.post("/embeddings", body={"input": "a"}, cast_to=dict[str, Any])

    assert answer["model"] == "vectors"


async def test_a_client_who_leaves_stops_the_work_and_gives_its_place_back(tmp_path: Path) -> None:
    async with running_with(Endless, tmp_path, workshop=False, places=1) as (mesh, servicer):
        async with asyncio.timeout(20):
            asking = asyncio.create_task(mesh.openai.embeddings.create(model="scripted", input="a"))
            await servicer.begun.wait()
            asking.cancel()
            await servicer.stopped.wait()
        said: Any = [{"role": "user", "content": "hello"}]
        answer = await mesh.openai.chat.completions.create(model="scripted", messages=said)

    assert answer.choices[0].message.content == "You said: hello"


async def test_a_model_that_is_not_there_is_not_found(mesh: Mesh) -> None:
    with pytest.raises(APIStatusError) as caught:
        await mesh.openai.embeddings.create(model="nobody", input="a")

    assert (caught.value.status_code, caught.value.code) == (404, "model_not_found")
