"""`/v1/models`."""

from typing import Any

from fastapi import APIRouter

from facade.domain.ports import Inference, Model
from facade.edge.answers.models import ModelAnswer, ModelList
from facade.edge.openapi import answer
from threadmesh.errors import ModelNotFound


def router(inference: Inference) -> APIRouter:
    """Make the routes."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    @routes.get("", summary="List the models", responses=answer(ModelList))
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_body(model) for model in await inference.models()]}

    @routes.get("/{name:path}", summary="Get one model", responses=answer(ModelAnswer))
    async def model(name: str) -> dict[str, Any]:
        for each in await inference.models():
            if each.name == name:
                return _body(each)
        raise ModelNotFound(model=name)

    return routes


def _body(model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.create_seconds,
        "owned_by": "threadmesh",
        "context_length": model.context_tokens,
        "backend": model.backend,
    }
