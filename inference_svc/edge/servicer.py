"""InferenceService on the wire."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from inference_svc.domain.events import Finished, Progress, Started
from inference_svc.domain.generate import generate
from inference_svc.domain.ports import Capability
from inference_svc.domain.router import Router
from inference_svc.edge.codec import (
    decode_counted,
    decode_generate,
    decode_warm,
    encode_embeddings,
    encode_event,
    encode_model,
    encode_warmed,
)
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceServicer
from threadmesh.crash_points import crash_point

_POINTS: dict[type, str] = {Started: "infer.after_admit", Progress: "infer.mid_prefill"}

Context = grpc.aio.ServicerContext[Any, Any]

HEARTBEAT_SECONDS = 0.5
"""Longest silence of a stream; half of what is promised, because the way to the caller takes time too."""


class InferenceServicer(InferenceServiceServicer):
    """Decodes, asks the domain, encodes."""

    def __init__(self, router: Router, *, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self._router, self._heartbeat = router, heartbeat

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> AsyncIterator[pb.GenerateResponse]:
        """Stream an answer."""
        events = generate(decode_generate(request), self._router, heartbeat=self._heartbeat)
        async with aclosing(events):
            sequence = 0
            async for event in events:
                sequence += 1
                if isinstance(event, Finished):
                    crash_point("infer.before_final")
                yield encode_event(event, sequence)
                crash_point(_POINTS.get(type(event), "infer.after_token"))

    async def Warm(self, request: pb.WarmRequest, context: Context) -> pb.WarmResponse:
        """Prefill a prompt."""
        return encode_warmed(await self._router.find(request.model).warm(decode_warm(request)))

    async def CountTokens(self, request: pb.CountTokensRequest, context: Context) -> pb.CountTokensResponse:
        """Count tokens."""
        tokens = await self._router.find(request.model).count_tokens(decode_counted(request))
        return pb.CountTokensResponse(tokens=tokens)

    async def Tokenize(self, request: pb.TokenizeRequest, context: Context) -> pb.TokenizeResponse:
        """Give tokens."""
        backend = self._router.find(request.model)
        tokens = await backend.tokenize(decode_counted(request), special=request.special, ask=request.ask)
        return pb.TokenizeResponse(ids=tokens)

    async def Detokenize(self, request: pb.DetokenizeRequest, context: Context) -> pb.DetokenizeResponse:
        """Give the text of tokens."""
        return pb.DetokenizeResponse(pieces=await self._router.find(request.model).detokenize(request.ids))

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """Make vectors."""
        backend = self._router.find(request.model, able=Capability.EMBED)
        dimensions = request.dimensions if request.HasField("dimensions") else None
        embeddings = await backend.embed(request.inputs, dimensions=dimensions)
        return encode_embeddings(embeddings, model=backend.describe().name)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """List the models."""
        return pb.ListModelsResponse(models=[encode_model(model) for model in self._router.models()])

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:
        """Load a model."""
        return pb.LoadModelResponse(model=encode_model(await self._router.load(request.model)))

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:
        """Unload a model."""
        return pb.UnloadModelResponse(model=encode_model(await self._router.unload(request.model)))
