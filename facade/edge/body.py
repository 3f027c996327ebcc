"""Request bodies: read within bounds, decoded strictly, checked against a schema."""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from facade.edge import strict_json
from facade.edge.ignored import ignored_headers, unknown_fields
from facade.edge.invalid import invalid, unknown

Model = TypeVar("Model", bound=BaseModel)


async def read(request: Request, model: type[Model], *, optional: bool = False, strict: bool = False) -> Model:
    """Read the request's body as a `model`; an `optional` one may be empty.

    Raises `InvalidArgument` whose `field` is the path of the first offending value, such as `messages[3].content`.
    Unknown fields are ignored and named in the response, unless `strict` or `X-Threadmesh-Strict: 1` has them refused.
    """
    body = await _bytes(request)
    raw = {} if optional and not body else strict_json.decode(body)
    try:
        asked = model.model_validate(raw)
    except ValidationError as error:
        raise invalid(error, raw) from error
    if strict or request.headers.get("x-threadmesh-strict") == "1":
        _refuse_unknown(asked)
    request.state.headers.update(ignored_headers(asked))
    return asked


def _refuse_unknown(asked: BaseModel) -> None:
    for field in sorted(unknown_fields(asked)):
        raise unknown(field)


async def _bytes(request: Request) -> bytes:
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise strict_json.WrongMediaType
    body = bytearray()
    # Counted as it comes: a Content-Length may be absent or a lie.
    async for chunk in request.stream():
        body += chunk
        if len(body) > strict_json.BODY_BYTES:
            raise strict_json.BodyTooLarge
    return bytes(body)
