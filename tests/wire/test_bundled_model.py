"""inference_svc with the bundled model, over a real loopback connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import jsonschema_rs
import pytest

from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.router import Router
from tests.inference_svc.engines import bundled
from tests.wire.inference import SCRIPT, SECONDS, asking, calls_of, generated, kinds, serving, text_of, user
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.inference.v1 import inference_service_pb2 as pb

if TYPE_CHECKING:
    from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub as Stub


@pytest.fixture
async def bundled_model() -> AsyncIterator["Stub"]:
    backend, _ = await asyncio.to_thread(bundled)
    async with serving(Router([backend, ScriptedBackend(SCRIPT, created=7)])) as stub:
        yield stub


@pytest.mark.model
async def test_the_default_model_is_the_first_one(bundled_model: "Stub") -> None:
    listed = (await bundled_model.ListModels(pb.ListModelsRequest(), timeout=SECONDS)).models

    assert [model.name for model in listed] == ["bundled", "scripted"]
    assert all(model.ready and model.fingerprint for model in listed)
    assert all(model.state == pb.MODEL_STATE_READY for model in listed)
    assert all(model.capabilities == [pb.CAPABILITY_GENERATE] and not model.base_model for model in listed)
    assert [model.context_tokens for model in listed] == [1024, 256]
    assert [model.create_seconds for model in listed] == [1, 7]
    assert listed[0].details["weights"] == "file"


@pytest.mark.model
async def test_the_bundled_model_answers(bundled_model: "Stub") -> None:
    found = await generated(bundled_model, asking("What is the capital of Italy?", max_tokens=16))

    assert text_of(found)
    assert found[0].started.backend == "llama.cpp"


@pytest.mark.model
async def test_a_seed_that_the_server_chose_repeats_the_answer(bundled_model: "Stub") -> None:
    first = await generated(bundled_model, asking("Tell me a joke.", max_tokens=8))
    seed = first[0].started.seed
    second = await generated(bundled_model, asking("Tell me a joke.", max_tokens=8, sampling=pb.Sampling(seed=seed)))

    assert text_of(second) == text_of(first)


@pytest.mark.model
async def test_every_way_to_draw_can_be_asked_for(bundled_model: "Stub") -> None:
    sampling = pb.Sampling(
        seed=5,
        typical_p=0.9,
        repeat_last_n=16,
        dry=pb.Dry(multiplier=0.8, base=1.5, allowed_length=1, penalty_last_n=32, sequence_breakers=["."]),
        ignore_eos=True,
        xtc=pb.Xtc(probability=0.3),
        top_n_sigma=3,
    )
    by_mirostat = pb.Sampling(seed=5, mirostat=pb.Mirostat(mode=2, tau=4))
    for wanted in (sampling, by_mirostat):
        asked = asking("Tell me a joke.", max_tokens=8, sampling=wanted)
        first, again = await generated(bundled_model, asked), await generated(bundled_model, asked)

        assert text_of(first) == text_of(again)
        assert first[-1].finished.usage.completion_tokens == 8


@pytest.mark.model
async def test_a_warmed_conversation_is_read_from_the_cache(bundled_model: "Stub") -> None:
    messages = [user("Warm this conversation about the migration of storks, please.")]
    request = pb.WarmRequest(messages=messages, cache_scope="wire")
    first = await bundled_model.Warm(request, timeout=SECONDS)
    again = await bundled_model.Warm(request, timeout=SECONDS)
    found = await generated(bundled_model, pb.GenerateRequest(messages=messages, cache_scope="wire", max_tokens=1))

    assert first.cached_tokens == 0
    assert again.cached_tokens == again.prompt_tokens - 1
    assert found[-1].finished.usage.cached_tokens >= first.prompt_tokens - 1


@pytest.mark.model
async def test_a_forced_call_fits_its_schema(bundled_model: "Stub") -> None:
    schema = {
        "type": "object",
        "properties": {"timezone": {"type": "string"}, "unit": {"enum": ["s", "ms"]}},
        "required": ["timezone", "unit"],
    }
    tool = conversation.ToolDefinition(name="time__now", description="The time", parameters_json=json.dumps(schema))
    choice = conversation.ToolChoice(name="time__now")
    found = await generated(bundled_model, asking("What time is it in Rome?", tools=[tool], tool_choice=choice))
    [(name, arguments)] = calls_of(found)

    assert name == "time__now"
    jsonschema_rs.validator_for(schema).validate(json.loads(arguments))
    assert found[-1].finished.reason == events.FINISH_REASON_TOOL_CALLS


@pytest.mark.model
async def test_leaving_while_the_prompt_is_read_frees_the_engine(bundled_model: "Stub") -> None:
    watcher = bundled()[1]
    left = watcher.phases["prefill"]
    call = bundled_model.Generate(asking("Leave. " + "The quick brown fox. " * 120), timeout=SECONDS)
    async for response in call:
        if 0 < response.progress.prefilled_tokens < response.progress.prompt_tokens:
            break
    call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    # The engine takes requests in turn: once this one is answered, the one that left is gone.
    while watcher.phases["prefill"] == left:
        await generated(bundled_model, asking("Hi", max_tokens=1))

    assert watcher.phases["prefill"] == left + 1


@pytest.mark.model
async def test_a_deadline_frees_the_engine(bundled_model: "Stub") -> None:
    watcher = bundled()[1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in bundled_model.Generate(asking("Wait. " + "The lazy dog sleeps. " * 120), timeout=0.3):
            pass
    while watcher.running:
        await generated(bundled_model, asking("Hi", max_tokens=1))

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.model
async def test_two_requests_at_once_both_end(bundled_model: "Stub") -> None:
    both = await asyncio.gather(*(generated(bundled_model, asking(f"Count to {n}.", max_tokens=8)) for n in (5, 6)))

    assert [kinds(found)[-1] for found in both] == ["finished", "finished"]
