"""Request bodies: read within bounds, decoded strictly, checked against a schema."""

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from facade.edge import strict_json
from threadmesh.errors import InvalidArgument

Model = TypeVar("Model", bound=BaseModel)

_MESSAGES = {
    "missing": "is required",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
_CODES = {"missing": "missing_required_parameter"}


async def read(request: Request, model: type[Model], *, optional: bool = False) -> Model:
    """Read the request's body as a `model`; an `optional` one may be empty.

    Raises `InvalidArgument` whose `field` is the path of the first offending value, such as `messages[3].content`.
    Unknown fields are ignored, unless `X-Threadmesh-Strict: 1` wishes otherwise.
    """
    body = await _bytes(request)
    raw = {} if optional and not body else strict_json.decode(body)
    try:
        asked = model.model_validate(raw)
    except ValidationError as error:
        raise invalid(error, raw) from error
    if request.headers.get("x-threadmesh-strict") == "1":
        _refuse_unknown(asked)
    return asked


def _refuse_unknown(asked: BaseModel) -> None:
    for field in sorted(asked.model_extra or ()):
        raise InvalidArgument(f"{field[:64]} is not a field of this request.", field=field, kind="unknown_parameter")


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


def invalid(error: ValidationError, raw: Any) -> InvalidArgument:
    """Tell of the deepest error: of a union, that is the one in the branch that was meant."""
    errors = error.errors(include_url=False, include_input=False)
    told = [(field_path(each["loc"], raw, missing=each["type"] == "missing"), each) for each in errors]
    path, first = max(told, key=lambda each: each[0].count(".") + each[0].count("["))
    kind = first["type"]
    what = _MESSAGES.get(kind) or _own_words(first["msg"])
    code = _CODES.get(kind) or ("invalid_type" if kind.endswith("_type") else "invalid_value")
    return InvalidArgument(f"{path or 'The body'} {what}.", field=path, kind=code)


def field_path(location: Sequence[int | str], raw: Any, *, missing: bool = True) -> str:
    """Write a pydantic location as `messages[3].content`; the last field may be one that is `missing`.

    A location also names the branches of unions; those are not found in the raw body, and so left out.
    """
    path = ""
    for place, part in enumerate(location):
        last = missing and place == len(location) - 1
        if isinstance(part, int) and isinstance(raw, list):
            path += f"[{part}]"
            raw = raw[part] if part < len(raw) else None
        elif isinstance(raw, dict) and (part in raw or last):
            path += f".{part}" if path else str(part)
            raw = raw.get(part)
    return path


def _own_words(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    return text[:1].lower() + text[1:]
