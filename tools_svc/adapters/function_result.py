"""What a function returns as a tool's result: words as text, everything else also as JSON with a schema."""

import inspect
import json
import math
from typing import Any

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, TypeAdapter, create_model
from pydantic.json_schema import GenerateJsonSchema

_TEXT = (str, None, type(None))
_UNKNOWN = (inspect.Signature.empty, Any)


class PlainSchema(GenerateJsonSchema):
    """Schemas without a title for each field: it repeats the name, and every word of a tool is read by the model."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's signature
        """Say no."""
        return False


class FunctionResult:
    """Encodes the values of a return type; `schema` is its output schema, None for text and for an unknown type."""

    def __init__(self, annotation: Any) -> None:
        """Raises pydantic's errors for a type that has no JSON Schema."""
        self._wrapper: type[BaseModel] | None = None
        self._adapter: TypeAdapter[Any] = TypeAdapter(Any if annotation in _UNKNOWN else annotation)
        self.schema: dict[str, Any] | None = None
        if annotation in _TEXT or annotation in _UNKNOWN:
            return
        self.schema = self._described()
        if self.schema.get("type") != "object":
            # MCP wants an object at the root.
            self._wrapper = create_model("Result", result=(annotation, ...))
            self._adapter = TypeAdapter(self._wrapper)
            self.schema = self._described()

    def encode(self, value: Any) -> CallToolResult:
        """Give the result; raises `PydanticSerializationError` for a value that is not of the type."""
        whole = value if self._wrapper is None else self._wrapper.model_construct(result=value)
        data = _sendable(self._adapter.dump_python(whole, mode="json", by_alias=True, warnings="error"))
        shown = data if self._wrapper is None else data["result"]
        return CallToolResult(content=_content(shown), structured_content=data if isinstance(data, dict) else None)

    def _described(self) -> dict[str, Any]:
        schema = self._adapter.json_schema(mode="serialization", schema_generator=PlainSchema)
        schema.pop("title", None)
        return schema


def sendable(words: str) -> str:
    """Give words that can be sent: halves of surrogate pairs, as `os.listdir` gives for odd names, become `?`."""
    return words if words.isascii() else words.encode(errors="replace").decode()


def _sendable(value: Any) -> Any:
    """Give plain data that can be sent as JSON, which knows no number that is not finite."""
    match value:
        case str():
            return sendable(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {sendable(name): _sendable(each) for name, each in value.items()}
        case list():
            return [_sendable(each) for each in value]
        case _:
            return value


def _content(value: Any) -> list[Any]:
    if value is None:
        return []
    return [TextContent(text=value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]
