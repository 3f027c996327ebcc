"""inference_svc over a real loopback connection: the promises in the comments of its proto."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.router import Router
from tests.wire.inference import SCRIPT, SECONDS, asking, failing, generated, kinds, serving, text_of, user
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
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

if TYPE_CHECKING:
    from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub as Stub

NAN = float("nan")


@pytest.fixture
async def scripted() -> AsyncIterator["Stub"]:
    async with serving(Router([ScriptedBackend(SCRIPT, created=7)])) as stub:
        yield stub


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
