"""Models, and the vectors that they make of texts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from facade.edge.answers.common import example


class Embedding(BaseModel):
    """A text as a vector: numbers, or little-endian 32-bit floats in base64."""

    model_config = ConfigDict(extra="allow")
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(BaseModel):
    """A vector for each text, in their order."""

    model_config = example(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
            "model": "vectors",
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }
    )
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class ModelAnswer(BaseModel):
    """A model."""

    model_config = example({"id": "small", "object": "model", "created": 1767225600, "owned_by": "threadmesh"})
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The models by the names that requests may use."""

    model_config = example({"object": "list", "data": []})
    object: Literal["list"]
    data: list[ModelAnswer]
