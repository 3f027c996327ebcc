"""inference_svc over a real loopback connection: the promises in the comments of its proto."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import jsonschema_rs
import pytest

from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.app import service
from inference_svc.domain.router import Router
from inference_svc.edge.servicer import InferenceServicer
from tests.inference_svc.engines import bundled
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.errors import (
    BackendUnavailable,
    ContextLengthExceeded,
    InvalidArgument,
    MeshError,
    ModelNotFound,
    Overloaded,
    Unsupported,
    UnsupportedSchema,
)
from threadmesh.rpc.channel import translated
from threadmesh.testing.loopback import channel_for

if TYPE_CHECKING:
    from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub as Stub

NAN = float("nan")
SECONDS = 60.0
SCRIPT = Script.model_validate(
    {
        "context_tokens": 256,
        "rules": [
            {
                "match": "break",
                "steps": [{"text": "So far so"}],
                "fail": {"reason": "BACKEND_UNAVAILABLE", "after_tokens": 2},
            },
            {"match": "full", "refuse": {"reason": "OVERLOADED"}},
            {"match": "hang", "steps": [{"text": "And"}, {"stall": True}]},
            {"match": "think", "steps": [{"reasoning": "They want something."}, {"text": "Here it is."}]},
            {"match": "emoji", "steps": [{"text": "😀 👩‍👩‍👧 é"}]},
        ],
    }
)


@asynccontextmanager
async def serving(router: Router, *, heartbeat: float = 0.5) -> AsyncIterator["Stub"]:
    served = service(router)
    quick = type(served)(servicer=InferenceServicer(router, heartbeat=heartbeat), add=served.add, name=served.name)
    async with channel_for(quick) as channel:
        yield InferenceServiceStub(channel)


@pytest.fixture
async def scripted() -> AsyncIterator["Stub"]:
    async with serving(Router([ScriptedBackend(SCRIPT, created=7)])) as stub:
        yield stub


@pytest.fixture
async def bundled_model() -> AsyncIterator["Stub"]:
    backend, _ = await asyncio.to_thread(bundled)
    async with serving(Router([backend, ScriptedBackend(SCRIPT, created=7)])) as stub:
        yield stub


def user(text: str) -> conversation.Message:
    return conversation.Message(role=conversation.ROLE_USER, parts=[conversation.Part(text=text)])


def asking(text: str, **fields: Any) -> pb.GenerateRequest:
    return pb.GenerateRequest(messages=[user(text)], **fields)


async def generated(stub: "Stub", request: pb.GenerateRequest) -> list[pb.GenerateResponse]:
    return [response async for response in stub.Generate(request, timeout=SECONDS)]


async def failing(stub: "Stub", request: pb.GenerateRequest) -> tuple[list[pb.GenerateResponse], MeshError]:
    found: list[pb.GenerateResponse] = []
    with pytest.raises(MeshError) as caught:
        async with translated(peer="inference"):
            async for response in stub.Generate(request, timeout=SECONDS):
                found.append(response)
    return found, caught.value


def kinds(responses: list[pb.GenerateResponse]) -> list[str]:
    return [str(response.WhichOneof("event")) for response in responses]


def text_of(responses: list[pb.GenerateResponse]) -> str:
    return "".join(response.text_delta.text for response in responses)


def calls_of(responses: list[pb.GenerateResponse]) -> list[tuple[str, str]]:
    calls: dict[int, tuple[str, str]] = {}
    for response in responses:
        if response.WhichOneof("event") == "tool_call_delta":
            delta = response.tool_call_delta
            name, arguments = calls.get(delta.index, ("", ""))
            calls[delta.index] = (name + delta.name, arguments + delta.arguments_json)
    return list(calls.values())


async def test_a_stream_is_numbered_from_one_and_ends_with_finished(scripted: "Stub") -> None:
    found = await generated(scripted, asking("hello"))

    assert [response.sequence for response in found] == list(range(1, len(found) + 1))
    assert kinds(found)[0] == "started"
    assert kinds(found).count("finished") == 1
    assert kinds(found)[-1] == "finished"
    assert found[-1].finished.reason == events.FINISH_REASON_STOP
    assert text_of(found) == "You said: hello"


async def test_a_failure_is_told_and_then_is_the_status(scripted: "Stub") -> None:
    found, error = await failing(scripted, asking("break"))

    assert text_of(found) == "So far"
    assert kinds(found)[-1] == "failed"
    assert kinds(found).count("failed") == 1
    assert found[-1].failed.reason == error.reason == "BACKEND_UNAVAILABLE"
    assert isinstance(error, BackendUnavailable)


async def test_an_error_before_the_first_event_is_only_a_status(scripted: "Stub") -> None:
    found, error = await failing(scripted, asking("full"))

    assert found == []
    assert isinstance(error, Overloaded)
    assert error.retryable


async def test_thinking_comes_apart_from_text_and_is_counted(scripted: "Stub") -> None:
    found = await generated(scripted, asking("think", logprobs=pb.Logprobs()))
    told = [response.reasoning_delta for response in found if response.WhichOneof("event") == "reasoning_delta"]

    assert "".join(delta.text for delta in told) == "They want something."
    assert text_of(found) == "Here it is."
    assert found[-1].finished.usage.reasoning_tokens == len([token for each in told for token in each.token_ids]) > 0
    assert b"".join(each.token for response in found for each in response.text_delta.logprobs) == b"Here it is."


REFUSED: list[tuple[Callable[[], pb.GenerateRequest], type[MeshError], str]] = [
    (lambda: asking("hi", model="gpt-4"), ModelNotFound, ""),
    (lambda: asking("hi", model="../../etc/passwd"), ModelNotFound, ""),
    (lambda: asking("hi", model="x" * 300), InvalidArgument, "model"),
    (pb.GenerateRequest, InvalidArgument, "messages"),
    (lambda: asking("hi", max_tokens=0), InvalidArgument, "max_tokens"),
    (lambda: asking("hi", stop=[""]), InvalidArgument, "stop[0]"),
    (lambda: asking("hi", sampling=pb.Sampling(temperature=float("nan"))), InvalidArgument, "sampling.temperature"),
    (lambda: asking("hi", sampling=pb.Sampling(top_p=-1)), InvalidArgument, "sampling.top_p"),
    (lambda: asking("hi", sampling=pb.Sampling(typical_p=2)), InvalidArgument, "sampling.typical_p"),
    (lambda: asking("hi", sampling=pb.Sampling(repeat_last_n=8193)), InvalidArgument, "sampling.repeat_last_n"),
    (lambda: asking("hi", sampling=pb.Sampling(top_n_sigma=NAN)), InvalidArgument, "sampling.top_n_sigma"),
    (
        lambda: asking("hi", sampling=pb.Sampling(dry=pb.Dry(multiplier=NAN))),
        InvalidArgument,
        "sampling.dry.multiplier",
    ),
    (
        lambda: asking("hi", sampling=pb.Sampling(dry=pb.Dry(sequence_breakers=["\n", ""]))),
        InvalidArgument,
        "sampling.dry.sequence_breakers[1]",
    ),
    (lambda: asking("hi", sampling=pb.Sampling(mirostat=pb.Mirostat())), InvalidArgument, "sampling.mirostat.mode"),
    (
        lambda: asking("hi", sampling=pb.Sampling(xtc=pb.Xtc(probability=2))),
        InvalidArgument,
        "sampling.xtc.probability",
    ),
    (lambda: asking("hi", reasoning_effort="<|im_end|>"), InvalidArgument, "reasoning_effort"),
    (lambda: asking("word " * 400), ContextLengthExceeded, "messages"),
    (
        lambda: asking("hi", tool_choice=conversation.ToolChoice(mode=conversation.TOOL_CHOICE_MODE_REQUIRED)),
        InvalidArgument,
        "tool_choice",
    ),
    (
        lambda: asking("hi", response_format=pb.ResponseFormat(json_schema=pb.JsonSchema(schema_json='{"$ref": "#"}'))),
        UnsupportedSchema,
        "response_format.json_schema.schema_json#/$ref",
    ),
    (lambda: asking("hi", response_format=pb.ResponseFormat()), InvalidArgument, "response_format.format"),
]


@pytest.mark.parametrize(("request_of", "error", "field"), REFUSED)
async def test_what_is_wrong_with_a_request_is_said_by_name(
    scripted: "Stub", request_of: Callable[[], pb.GenerateRequest], error: type[MeshError], field: str
) -> None:
    found, raised = await failing(scripted, request_of())

    assert found == []
    assert type(raised) is error
    assert raised.facts.get("field", "") == field


async def test_a_silent_stream_shows_that_the_server_is_alive() -> None:
    async with serving(Router([ScriptedBackend(SCRIPT, created=7)]), heartbeat=0.01) as stub:
        call = stub.Generate(asking("hang"), timeout=SECONDS)
        beats = 0
        async for response in call:
            beats = beats + 1 if response.WhichOneof("event") == "progress" else 0
            if beats == 3:
                assert response.progress.phase == pb.PHASE_DECODE
                break
        call.cancel()


async def test_text_comes_in_whole_code_points(scripted: "Stub") -> None:
    assert text_of(await generated(scripted, asking("emoji"))) == "😀 👩‍👩‍👧 é"


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


async def test_counting_agrees_with_the_prompt(scripted: "Stub") -> None:
    counted = await scripted.CountTokens(
        pb.CountTokensRequest(conversation=pb.Conversation(messages=[user("hello there")])), timeout=SECONDS
    )
    found = await generated(scripted, asking("hello there"))

    assert counted.tokens == found[0].started.prompt_tokens
    assert (await scripted.CountTokens(pb.CountTokensRequest(text="a b c"), timeout=SECONDS)).tokens == 3


async def test_vectors_are_refused_in_a_sentence(scripted: "Stub") -> None:
    with pytest.raises(Unsupported, match="embeddings"):
        async with translated(peer="inference"):
            await scripted.Embed(pb.EmbedRequest(inputs=["a"]), timeout=SECONDS)


async def test_a_model_without_weights_is_neither_loaded_nor_unloaded(scripted: "Stub") -> None:
    for change in (
        scripted.LoadModel(pb.LoadModelRequest(model="scripted"), timeout=SECONDS),
        scripted.UnloadModel(pb.UnloadModelRequest(), timeout=SECONDS),
    ):
        with pytest.raises(Unsupported, match="always loaded"):
            async with translated(peer="inference"):
                await change
    with pytest.raises(ModelNotFound):
        async with translated(peer="inference"):
            await scripted.LoadModel(pb.LoadModelRequest(model="absent"), timeout=SECONDS)


async def test_a_vector_without_components_cannot_be_asked_for(scripted: "Stub") -> None:
    with pytest.raises(InvalidArgument) as caught:
        async with translated(peer="inference"):
            await scripted.Embed(pb.EmbedRequest(inputs=["a"], dimensions=0), timeout=SECONDS)

    assert caught.value.facts["field"] == "dimensions"


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


async def test_a_raw_prompt_takes_the_place_of_messages(scripted: "Stub") -> None:
    by_text = await generated(scripted, pb.GenerateRequest(raw_prompt=pb.RawPrompt(text="hello there")))
    ids = (await scripted.Tokenize(pb.TokenizeRequest(text="hello there", special=True), timeout=SECONDS)).ids
    by_tokens = await generated(scripted, pb.GenerateRequest(raw_prompt=pb.RawPrompt(tokens=pb.Tokens(ids=ids))))

    assert text_of(by_text) == text_of(by_tokens) == "You said: hello there"
    assert by_text[-1].finished.usage.prompt_tokens == len(ids)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GenerateRequest(), "messages"),
        (pb.GenerateRequest(messages=[user("a")], raw_prompt=pb.RawPrompt(text="b")), "raw_prompt"),
        (pb.GenerateRequest(raw_prompt=pb.RawPrompt()), "raw_prompt.prompt"),
        (pb.GenerateRequest(raw_prompt=pb.RawPrompt(tokens=pb.Tokens(ids=[1]))), "raw_prompt.tokens.ids[0]"),
    ],
)
async def test_what_is_gone_on_with_is_either_messages_or_a_raw_prompt(
    scripted: "Stub", request_: pb.GenerateRequest, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        async with translated("inference"):
            await generated(scripted, request_)

    assert caught.value.facts["field"] == field


async def test_tokens_can_be_had_and_read_back(scripted: "Stub") -> None:
    found = await scripted.Tokenize(pb.TokenizeRequest(text="one two"), timeout=SECONDS)
    back = await scripted.Detokenize(pb.DetokenizeRequest(ids=found.ids), timeout=SECONDS)
    conversation_ = pb.Conversation(messages=[user("one two")])
    whole = await scripted.Tokenize(pb.TokenizeRequest(conversation=conversation_, ask=True), timeout=SECONDS)
    counted = await scripted.CountTokens(pb.CountTokensRequest(conversation=conversation_), timeout=SECONDS)

    assert list(back.pieces) == [b"one", b" two"]
    assert len(whole.ids) == counted.tokens
