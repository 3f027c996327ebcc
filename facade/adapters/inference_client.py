"""Models as inference_svc offers them."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict

from facade.domain.events import ModelEvent, ModelFinished, ModelStarted
from facade.domain.parameters import ResponseFormat
from facade.domain.ports import Conversation, Embedded, Generation, Model, Tokenizable, Warmed
from threadmesh import event_codec as events
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1 import inference_service_pb2_grpc as rpc
from threadmesh.codec import encode_message, encode_tool_choice, encode_tool_definition
from threadmesh.errors import MeshError, ModelNotFound, Unavailable
from threadmesh.rpc.channel import MeshChannel, translated, translated_stream
from threadmesh.sampling import Sampling

_PEER = "inference"
_SECONDS = 5.0
_SILENCE_SECONDS = 10.0
"""A server that sends nothing for so long, not even a sign of life, is taken for dead."""

_KNOWN_SECONDS = 1.0
"""How long a list of the models is taken for true."""
_COUNTING_SECONDS = 0.5
_READING_SECONDS = 60.0
"""Of a text or a conversation that is tokenised, by a model that may have to be loaded first."""
_EMBEDDING_SECONDS = 120.0
"""Of a request with many texts, and a model that has to be loaded first."""
_ASSUMED_CONTEXT_TOKENS = 4_096
"""Of a model that was never loaded; if it has fewer, the prompt is shortened once it says so."""


class InferenceClient:
    """The `Inference` port over gRPC."""

    def __init__(self, channel: MeshChannel) -> None:
        self._stub = rpc.InferenceServiceStub(channel)
        self._listed: Sequence[Model] = ()
        self._listed_at = -math.inf

    async def ping(self) -> None:
        """Raise `Unavailable` unless some model can answer, at once or after the load that a request causes."""
        if not any(model.ready or model.state == pb.MODEL_STATE_UNLOADED for model in await self._models()):
            raise Unavailable("No model is loaded yet; try again in a moment.")

    async def models(self) -> Sequence[Model]:
        """List the models, those that make only vectors last; the first is the default one."""
        listed = [
            Model(
                name=model.name,
                backend=model.backend,
                context_tokens=model.context_tokens or _ASSUMED_CONTEXT_TOKENS,
                ready=model.ready,
                create_seconds=model.create_seconds,
                temperature=model.temperature if model.HasField("temperature") else None,
                top_p=model.top_p if model.HasField("top_p") else None,
            )
            for model in sorted(await self._models(), key=_is_silent)
        ]
        self._listed, self._listed_at = listed, time.monotonic()
        return listed

    async def model(self, name: str) -> Model:
        """Give the model of a name, the default one for none, as of this second or the last. Raises `ModelNotFound`.

        Every answer begins with this, so it need not wait for an answer of its own each time.
        """
        known = time.monotonic() - self._listed_at < _KNOWN_SECONDS
        if known and (model := _named(name, self._listed)):
            return model
        if model := _named(name, await self.models()):
            return model
        wanted = name[:64]
        raise ModelNotFound(f"There is no model named {wanted!r}; list the models to see their names.", model=wanted)

    async def _models(self) -> Sequence[pb.Model]:
        async with translated(_PEER):
            response = await self._stub.ListModels(pb.ListModelsRequest(), timeout=_SECONDS)
        return response.models

    async def count(self, texts: Sequence[str], *, model: str) -> Sequence[int]:
        """Count the tokens of texts as a model reads them; 0 for those that cannot be counted now."""
        return await asyncio.gather(*(self._count(text, model) for text in texts))

    async def _count(self, text: str, model: str) -> int:
        try:
            async with translated(_PEER):
                request = pb.CountTokensRequest(model=model, text=text)
                return (await self._stub.CountTokens(request, timeout=_COUNTING_SECONDS)).tokens
        except MeshError:
            return 0  # an estimate takes its place

    async def tokenize(self, text: Tokenizable, *, model: str, special: bool = True, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text or a conversation."""
        request = pb.TokenizeRequest(model=model, special=special, ask=ask)
        if isinstance(text, str):
            request.text = text
        else:
            request.conversation.CopyFrom(_encode_conversation(text))
        async with translated(_PEER):
            return (await self._stub.Tokenize(request, timeout=_READING_SECONDS)).ids

    async def detokenize(self, tokens: Sequence[int], *, model: str) -> Sequence[bytes]:
        """Give the bytes of tokens."""
        async with translated(_PEER):
            request = pb.DetokenizeRequest(model=model, ids=tokens)
            return (await self._stub.Detokenize(request, timeout=_READING_SECONDS)).pieces

    async def count_all(self, read: Conversation, *, model: str) -> int:
        """Count the tokens of a conversation."""
        async with translated(_PEER):
            request = pb.CountTokensRequest(model=model, conversation=_encode_conversation(read))
            return (await self._stub.CountTokens(request, timeout=_READING_SECONDS)).tokens

    async def warm(self, read: Conversation, *, model: str, cache_scope: str) -> Warmed:
        """Let a model read a conversation and keep what it computes."""
        request = pb.WarmRequest(
            model=model,
            messages=map(encode_message, read.messages),
            tools=map(encode_tool_definition, read.tools),
            cache_scope=cache_scope,
        )
        async with translated(_PEER):
            response = await self._stub.Warm(request, timeout=_READING_SECONDS)
        return Warmed(tokens=response.prompt_tokens, cached_tokens=response.cached_tokens)

    async def embed(self, texts: Sequence[str], *, model: str, dimensions: int | None) -> Embedded:
        """Turn texts into vectors."""
        request = pb.EmbedRequest(model=model, inputs=texts, dimensions=dimensions)
        async with translated(_PEER):
            response = await self._stub.Embed(request, timeout=_EMBEDDING_SECONDS)
        vectors = [embedding.values for embedding in response.embeddings]
        # A service that is older than the facade does not name its model.
        return Embedded(vectors=vectors, tokens=response.usage.prompt_tokens, model=response.model or model)

    async def generate(self, generation: Generation) -> AsyncGenerator[ModelEvent, None]:
        """Stream an answer, from `ModelStarted` to `ModelFinished`."""
        call = self._stub.Generate(encode_generation(generation))
        async with aclosing(translated_stream(call, peer=_PEER, silence_seconds=_SILENCE_SECONDS)) as responses:
            async for response in responses:
                if (event := decode_response(response)) is not None:
                    yield event


def _is_silent(model: pb.Model) -> bool:
    return bool(model.capabilities) and pb.CAPABILITY_GENERATE not in model.capabilities


def encode_generation(generation: Generation) -> pb.GenerateRequest:
    """Encode one question to a model."""
    asked = generation.parameters
    return pb.GenerateRequest(
        model=asked.model,
        messages=map(encode_message, generation.messages),
        tools=map(encode_tool_definition, generation.tools),
        tool_choice=encode_tool_choice(generation.tool_choice) if generation.tool_choice else None,
        parallel_tool_calls=asked.parallel_tool_calls,
        response_format=_encode_format(asked.response_format),
        sampling=_encode_sampling(asked.sampling),
        max_tokens=asked.max_tokens,
        stop=asked.stop,
        logprobs=pb.Logprobs(top=asked.top_logprobs) if asked.top_logprobs is not None else None,
        priority=pb.PRIORITY_INTERACTIVE,
        cache_scope=asked.cache_scope,
        caller=asked.caller,
        thinking=asked.thinking,
        reasoning_effort=asked.reasoning_effort,
        prediction=asked.prediction,
        raw_prompt=_encode_raw(generation.raw),
        emitted_token_ids=generation.emitted,
        repeat_emitted=True,
    )


def _encode_raw(raw: str | Sequence[int] | None) -> pb.RawPrompt | None:
    if raw is None:
        return None
    return pb.RawPrompt(text=raw) if isinstance(raw, str) else pb.RawPrompt(tokens=pb.Tokens(ids=raw))


def decode_response(response: pb.GenerateResponse) -> ModelEvent | None:
    """Decode an event of a generation; None for what a turn need not know."""
    match response.WhichOneof("event"):
        case "started":
            started = response.started
            return ModelStarted(
                model=started.model, backend=started.backend, fingerprint=started.fingerprint, seed=started.seed
            )
        case "text_delta":
            return events.decode_text_delta(response.text_delta)
        case "reasoning_delta":
            return events.decode_reasoning_delta(response.reasoning_delta)
        case "tool_call_delta":
            return events.decode_tool_call_delta(response.tool_call_delta)
        case "finished":
            finished = response.finished
            return ModelFinished(
                reason=events.decode_finish_reason(finished.reason), usage=events.decode_usage(finished.usage)
            )
        case "failed":
            raise events.decode_failure(response.failed).error()
        case _:
            return None


def _encode_format(form: ResponseFormat) -> pb.ResponseFormat | None:
    match form.type:
        case "json_object":
            return pb.ResponseFormat(json_object=pb.JsonObject())
        case "json_schema":
            schema = pb.JsonSchema(name=form.name, schema_json=form.schema_json, lenient=form.lenient)
            return pb.ResponseFormat(json_schema=schema)
        case _:
            return None


def _encode_sampling(sampling: Sampling) -> pb.Sampling:
    return pb.Sampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repeat_penalty=sampling.repeat_penalty,
        seed=sampling.seed,
        logit_bias=sampling.logit_bias,
        typical_p=sampling.typical_p,
        repeat_last_n=sampling.repeat_last_n,
        dry=pb.Dry(**asdict(sampling.dry)) if sampling.dry else None,
        mirostat=pb.Mirostat(**asdict(sampling.mirostat)) if sampling.mirostat else None,
        ignore_eos=sampling.ignore_eos,
        xtc=pb.Xtc(**asdict(sampling.xtc)) if sampling.xtc else None,
        top_n_sigma=sampling.top_n_sigma,
    )


def _encode_conversation(read: Conversation) -> pb.Conversation:
    return pb.Conversation(messages=map(encode_message, read.messages), tools=map(encode_tool_definition, read.tools))


def _named(name: str, models: Sequence[Model]) -> Model | None:
    return next((model for model in models if name in {"", model.name}), None)
