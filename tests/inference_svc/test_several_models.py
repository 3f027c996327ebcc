"""One process serves a model that talks, an adapter of it, and one that makes embeddings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from inference_svc.app import app
from inference_svc.settings import InferenceSettings
from tests.inference_svc.tiny_models import DIMENSIONS, tiny_adapter, tiny_encoder
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.errors import BackendUnavailable, PreconditionFailed, Unsupported
from threadmesh.rpc.channel import translated
from threadmesh.rpc.unit import Unit
from threadmesh.testing.loopback import channel_for

if TYPE_CHECKING:
    from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub as Stub

SECONDS = 60.0
MODELS = """
[models.talker]
path = "bundled"
context_tokens = 256
sequences = 2
threads = 1

[models.talker.adapters.pirate]
path = "pirate.gguf"
scale = 1.5

[models.vectors]
path = "encoder.gguf"
"""


@asynccontextmanager
async def running(folder: Path, models: str = MODELS) -> AsyncIterator[tuple[Unit, "Stub"]]:
    tiny_encoder(folder / "encoder.gguf")
    tiny_adapter(folder / "pirate.gguf", 2)
    (folder / "models.toml").write_text(models)
    settings = InferenceSettings(models_file=str(folder / "models.toml"), port=0, metrics_port=0)
    async with app(settings, CollectorRegistry()) as unit, channel_for(*unit.services) as channel:
        yield unit, InferenceServiceStub(channel)


async def loaded(stub: "Stub", model: str = "") -> pb.Model:
    return (await stub.LoadModel(pb.LoadModelRequest(model=model), timeout=SECONDS)).model


async def listed(stub: "Stub") -> dict[str, pb.Model]:
    models = (await stub.ListModels(pb.ListModelsRequest(), timeout=SECONDS)).models
    return {model.name: model for model in models}


async def generated(stub: "Stub", model: str) -> list[pb.GenerateResponse]:
    said = conversation.Message(role=conversation.ROLE_USER, parts=[conversation.Part(text="Tell me about the sea.")])
    request = pb.GenerateRequest(
        model=model, messages=[said], max_tokens=12, sampling=pb.Sampling(temperature=0, repeat_penalty=1)
    )
    return [response async for response in stub.Generate(request, timeout=SECONDS)]


def text_of(responses: list[pb.GenerateResponse]) -> str:
    return "".join(response.text_delta.text for response in responses)


@pytest.mark.model
async def test_each_model_answers_under_its_name(tmp_path: Path) -> None:
    async with running(tmp_path) as (unit, stub):
        await loaded(stub)
        await unit.ping()
        before = await listed(stub)
        base, pirate = await generated(stub, ""), await generated(stub, "pirate")
        vectors = await stub.Embed(pb.EmbedRequest(inputs=["the cat", "rain"], dimensions=8), timeout=SECONDS)
        after = await listed(stub)

    assert list(before) == ["talker", "pirate", "vectors"]
    assert [before[name].state for name in before] == [
        pb.MODEL_STATE_READY,
        pb.MODEL_STATE_READY,
        pb.MODEL_STATE_UNLOADED,
    ]
    assert before["pirate"].base_model == "talker"
    assert (before["talker"].context_tokens, before["vectors"].context_tokens) == (256, 64)
    assert before["vectors"].capabilities == [pb.CAPABILITY_EMBED]
    assert before["talker"].capabilities == [pb.CAPABILITY_GENERATE]
    assert (base[0].started.model, pirate[0].started.model) == ("talker", "pirate")
    assert text_of(base) != text_of(pirate)
    assert [len(each.values) for each in vectors.embeddings] == [8, 8]
    assert vectors.usage.prompt_tokens > 4
    assert after["vectors"].ready
    assert after["vectors"].embedding_dimensions == DIMENSIONS
    assert after["vectors"].fingerprint


@pytest.mark.model
async def test_what_a_model_cannot_do_is_refused_with_the_way_out(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, stub):
        await loaded(stub)
        with pytest.raises(Unsupported, match="INFERENCE_MODELS_FILE"):
            async with translated(peer="inference"):
                await stub.Embed(pb.EmbedRequest(model="talker", inputs=["a"]), timeout=SECONDS)
        with pytest.raises(Unsupported, match="name a chat model"):
            async with translated(peer="inference"):
                await generated(stub, "vectors")


async def test_models_are_loaded_and_unloaded_by_name(tmp_path: Path) -> None:
    only = '[models.vectors]\npath = "encoder.gguf"\nload = "lazy"\nqueue = 0\n'
    async with running(tmp_path, only) as (unit, stub):
        await unit.ping()  # nothing is loaded at the start
        ready = await loaded(stub, "vectors")
        unloaded = (await stub.UnloadModel(pb.UnloadModelRequest(), timeout=SECONDS)).model
        again = await stub.Embed(pb.EmbedRequest(inputs=["cat"]), timeout=SECONDS)

    assert (ready.state, ready.ready) == (pb.MODEL_STATE_READY, True)
    assert (unloaded.state, unloaded.embedding_dimensions) == (pb.MODEL_STATE_UNLOADED, DIMENSIONS)
    assert len(again.embeddings) == 1


async def test_a_lazy_model_that_is_gone_refuses_and_works_once_it_is_back(tmp_path: Path) -> None:
    only = '[models.vectors]\npath = "encoder.gguf"\nload = "lazy"\n'
    async with running(tmp_path, only) as (unit, stub):
        (tmp_path / "encoder.gguf").rename(tmp_path / "elsewhere.gguf")
        with pytest.raises(BackendUnavailable, match="could not be loaded"):
            async with translated(peer="inference"):
                await stub.Embed(pb.EmbedRequest(inputs=["cat"]), timeout=SECONDS)
        assert (await listed(stub))["vectors"].state == pb.MODEL_STATE_FAILED
        await unit.ping()
        (tmp_path / "elsewhere.gguf").rename(tmp_path / "encoder.gguf")

        assert (await stub.Embed(pb.EmbedRequest(inputs=["cat"]), timeout=SECONDS)).embeddings


@pytest.mark.model
async def test_a_model_that_answers_cannot_be_unloaded(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, stub):
        await loaded(stub)
        said = conversation.Message(role=conversation.ROLE_USER, parts=[conversation.Part(text="Count to 100.")])
        call = stub.Generate(pb.GenerateRequest(messages=[said], max_tokens=200), timeout=SECONDS)
        async for response in call:
            if response.WhichOneof("event") == "text_delta":
                break
        with pytest.raises(PreconditionFailed, match="in use"):
            async with translated(peer="inference"):
                await stub.UnloadModel(pb.UnloadModelRequest(model="pirate"), timeout=SECONDS)
        call.cancel()
