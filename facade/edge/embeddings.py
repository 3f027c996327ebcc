"""`/v1/embeddings`: texts as vectors."""

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import Field, field_validator
from starlette.responses import Response

from facade.domain.metered import text_tokens
from facade.domain.ports import Embedded, Inference
from facade.edge import examples
from facade.edge.admission import Admission
from facade.edge.answers.models import EmbeddingList
from facade.edge.body import read
from facade.edge.chat.fields import Integer, Schema
from facade.edge.leaving import LEFT, unless_gone
from facade.edge.openapi import answer, request_body
from threadmesh.errors import MeshError

Input = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(Schema):
    """The body of `POST /v1/embeddings`."""

    input: Input | Annotated[list[Input], Field(min_length=1, max_length=2048)]
    model: str | None = Field(default=None, max_length=256, description="Absent: the first model that makes vectors.")
    dimensions: Integer | None = Field(default=None, ge=1, le=2**31 - 1)
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = Field(default=None, max_length=512)

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        if isinstance(given, list) and any(isinstance(each, int | list) for each in given):
            raise ValueError("must be a text or a list of texts; tokens are not read, since every model has its own")
        return given


def router(inference: Inference, admission: Admission) -> APIRouter:
    """Make the route."""
    routes = APIRouter(tags=["embeddings"])

    @routes.post(
        "/v1/embeddings",
        summary="Turn texts into vectors",
        responses=answer(EmbeddingList),
        openapi_extra=request_body(EmbeddingRequest, examples.EMBEDDING),
    )
    async def embed(request: Request) -> Response:
        asked = await read(request, EmbeddingRequest)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        with admission.admit(request, tokens=text_tokens(texts)):
            found = await unless_gone(request, _embedded(inference, asked, texts))
        if found is None:
            return LEFT
        admission.used(request, found.tokens)
        as_text = asked.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if as_text else list(vector)}
            for index, vector in enumerate(found.vectors)
        ]
        usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
        body = {"object": "list", "data": data, "model": found.model, "usage": usage}
        return Response(orjson.dumps(body), media_type="application/json")

    return routes


async def _embedded(inference: Inference, asked: EmbeddingRequest, texts: Sequence[str]) -> Embedded:
    """Make the vectors; of a text that is not in a list, an error tells no number."""
    try:
        return await inference.embed(texts, model=asked.model or "", dimensions=asked.dimensions)
    except MeshError as error:
        if isinstance(asked.input, str) and "field" in error.facts:
            error.facts["field"] = error.facts["field"].replace("inputs[0]", "inputs")
        raise


def _packed(vector: Sequence[float]) -> str:
    """Write a vector as little-endian 32-bit floats in base64, which is what OpenAI's clients ask for by themselves."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
