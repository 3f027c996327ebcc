"""The inference service's messages to and from the domain's values. Pure functions."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, assert_never

from inference_svc.domain.events import Event, Failed, Finished, Phase, Progress, Started
from inference_svc.domain.ports import Capability, Embeddings, Model, ModelState, Warmed
from inference_svc.domain.prompt import (
    Conversation,
    Grammar,
    JsonObject,
    JsonSchema,
    Priority,
    Prompt,
    RawPrompt,
    ResponseFormat,
)
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.codec import decode_message, decode_tool_choice, decode_tool_definition
from threadmesh.conversation import ReasoningDelta, TextDelta, ToolCallDelta, ToolChoice
from threadmesh.errors import InvalidArgument
from threadmesh.event_codec import (
    encode_failure,
    encode_finish_reason,
    encode_reasoning_delta,
    encode_text_delta,
    encode_tool_call_delta,
    encode_usage,
)
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc

_PHASES = {
    Phase.LOADING: pb.PHASE_LOADING,
    Phase.QUEUED: pb.PHASE_QUEUED,
    Phase.PREFILL: pb.PHASE_PREFILL,
    Phase.DECODE: pb.PHASE_DECODE,
}
_STATES = {
    ModelState.UNLOADED: pb.MODEL_STATE_UNLOADED,
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.READY: pb.MODEL_STATE_READY,
    ModelState.FAILED: pb.MODEL_STATE_FAILED,
}
_CAPABILITIES = {
    Capability.GENERATE: pb.CAPABILITY_GENERATE,
    Capability.EMBED: pb.CAPABILITY_EMBED,
    Capability.IMAGE_INPUT: pb.CAPABILITY_IMAGE_INPUT,
    Capability.AUDIO_INPUT: pb.CAPABILITY_AUDIO_INPUT,
}
_PRIORITIES = {
    pb.PRIORITY_VOICE: Priority.VOICE,
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_BACKGROUND: Priority.BACKGROUND,
}
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "seed",
    "typical_p",
    "repeat_last_n",
    "top_n_sigma",
)


def decode_generate(request: pb.GenerateRequest) -> Prompt:
    """Decode a request for a continuation."""
    thinking = request.thinking if request.HasField("thinking") else None
    conversation = _decode_conversation(request)
    raw = _decode_raw(request.raw_prompt) if request.HasField("raw_prompt") else None
    if raw is None and not conversation.messages:
        raise InvalidArgument("Say what is to be gone on with: messages or a raw prompt.", field="messages")
    if raw is not None and (conversation.messages or conversation.tools):
        raise InvalidArgument("A raw prompt takes the place of messages and tools.", field="raw_prompt")
    return Prompt(
        raw=raw,
        prediction=request.prediction,
        conversation=replace(conversation, thinking=thinking, reasoning_effort=request.reasoning_effort),
        model=request.model,
        tool_choice=decode_tool_choice(request.tool_choice) if request.HasField("tool_choice") else ToolChoice(),
        parallel_tool_calls=request.parallel_tool_calls if request.HasField("parallel_tool_calls") else True,
        response_format=_decode_format(request.response_format) if request.HasField("response_format") else None,
        sampling=_decode_sampling(request.sampling),
        max_tokens=request.max_tokens if request.HasField("max_tokens") else None,
        stop=tuple(request.stop),
        logprobs=request.logprobs.top if request.HasField("logprobs") else None,
        emitted_token_ids=tuple(request.emitted_token_ids),
        repeat_emitted=request.repeat_emitted,
        priority=_PRIORITIES.get(request.priority, Priority.INTERACTIVE),
        cache_scope=request.cache_scope,
        caller=request.caller or request.cache_scope,
    )


def _decode_raw(raw: pb.RawPrompt) -> RawPrompt:
    match raw.WhichOneof("prompt"):
        case "text":
            return raw.text
        case "tokens":
            return tuple(raw.tokens.ids)
        case None:
            raise InvalidArgument("This server does not know the kind of prompt.", field="raw_prompt")
        case other:
            assert_never(other)


def decode_warm(request: pb.WarmRequest) -> Prompt:
    """Decode a request to prefill."""
    conversation, scope = _decode_conversation(request), request.cache_scope
    return Prompt(conversation=conversation, model=request.model, cache_scope=scope, caller=scope)


def decode_counted(request: pb.CountTokensRequest | pb.TokenizeRequest) -> Conversation | str:
    """Decode what is counted or tokenised. Raises `InvalidArgument` where that is something only a newer peer knows."""
    match request.WhichOneof("input"):
        case "conversation":
            return _decode_conversation(request.conversation)
        case "text":
            return request.text
        case None:
            raise InvalidArgument("Say what is to be read: a conversation or a text.", field="input")
        case other:
            assert_never(other)


def encode_event(event: Event, sequence: int) -> pb.GenerateResponse:  # noqa: PLR0911  # one for each kind
    """Encode an event of a generation."""
    match event:
        case Started():
            return pb.GenerateResponse(sequence=sequence, started=_encode_started(event))
        case Progress():
            return pb.GenerateResponse(sequence=sequence, progress=_encode_progress(event))
        case TextDelta():
            return pb.GenerateResponse(sequence=sequence, text_delta=encode_text_delta(event))
        case ReasoningDelta():
            return pb.GenerateResponse(sequence=sequence, reasoning_delta=encode_reasoning_delta(event))
        case ToolCallDelta():
            return pb.GenerateResponse(sequence=sequence, tool_call_delta=encode_tool_call_delta(event))
        case Finished(reason=reason, usage=usage):
            finished = pb.Finished(reason=encode_finish_reason(reason), usage=encode_usage(usage))
            return pb.GenerateResponse(sequence=sequence, finished=finished)
        case Failed(failure=failure):
            return pb.GenerateResponse(sequence=sequence, failed=encode_failure(failure))
        case other:
            assert_never(other)


def encode_warmed(warmed: Warmed) -> pb.WarmResponse:
    """Encode what was prefilled."""
    return pb.WarmResponse(prompt_tokens=warmed.prompt_tokens, cached_tokens=warmed.cached_tokens)


def encode_embeddings(embeddings: Embeddings, *, model: str) -> pb.EmbedResponse:
    """Encode vectors that a `model` has made."""
    vectors = [pb.Embedding(values=vector) for vector in embeddings.vectors]
    return pb.EmbedResponse(embeddings=vectors, usage=encode_usage(embeddings.usage), model=model)


def encode_model(model: Model) -> pb.Model:
    """Encode a model."""
    return pb.Model(
        name=model.name,
        backend=model.backend,
        context_tokens=model.context_tokens,
        ready=model.ready,
        fingerprint=model.fingerprint,
        create_seconds=model.created,
        details=model.details,
        capabilities=[_CAPABILITIES[each] for each in model.capabilities],
        state=_STATES[model.state],
        base_model=model.base,
        embedding_dimensions=model.embedding_dimensions,
        temperature=model.temperature,
        top_p=model.top_p,
    )


def _decode_conversation(request: pb.GenerateRequest | pb.WarmRequest | pb.Conversation) -> Conversation:
    return Conversation(
        messages=tuple(decode_message(message) for message in request.messages),
        tools=tuple(decode_tool_definition(tool) for tool in request.tools),
    )


def _decode_format(wanted: pb.ResponseFormat) -> ResponseFormat | None:
    match wanted.WhichOneof("format"):
        case "json_object":
            return JsonObject()
        case "json_schema":
            schema = wanted.json_schema
            return JsonSchema(name=schema.name, schema_json=schema.schema_json, lenient=schema.lenient)
        case "grammar":
            return Grammar(gbnf=wanted.grammar)
        case None:
            raise InvalidArgument("This server does not know the response format.", field="response_format")
        case other:
            assert_never(other)


def _decode_sampling(sampling: pb.Sampling) -> Sampling:
    return Sampling(
        **_said(sampling, _SAMPLING),
        logit_bias=dict(sampling.logit_bias),
        dry=_decode_dry(sampling.dry) if sampling.HasField("dry") else None,
        mirostat=_decode_mirostat(sampling.mirostat) if sampling.HasField("mirostat") else None,
        ignore_eos=sampling.ignore_eos,
        xtc=_decode_xtc(sampling.xtc) if sampling.HasField("xtc") else None,
    )


def _decode_dry(dry: pb.Dry) -> Dry:
    said = _said(dry, ("base", "allowed_length", "penalty_last_n"))
    if dry.sequence_breakers:
        said["sequence_breakers"] = tuple(dry.sequence_breakers)
    return Dry(multiplier=dry.multiplier, **said)


def _decode_mirostat(mirostat: pb.Mirostat) -> Mirostat:
    return Mirostat(mode=mirostat.mode, **_said(mirostat, ("tau", "eta")))


def _decode_xtc(xtc: pb.Xtc) -> Xtc:
    return Xtc(probability=xtc.probability, **_said(xtc, ("threshold",)))


def _said(message: Any, names: Iterable[str]) -> dict[str, Any]:
    """Give the fields that a message holds."""
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def _encode_started(started: Started) -> pb.Started:
    return pb.Started(
        model=started.model,
        backend=started.backend,
        fingerprint=started.fingerprint,
        prompt_tokens=started.prompt_tokens,
        seed=started.seed,
    )


def _encode_progress(progress: Progress) -> pb.Progress:
    return pb.Progress(
        phase=_PHASES[progress.phase],
        prefilled_tokens=progress.prefilled_tokens,
        prompt_tokens=progress.prompt_tokens,
    )
