"""The items that a request for a response can begin with."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator

from facade.edge.chat import schemas as chat
from facade.edge.chat.fields import Schema
from facade.edge.responses.compaction import opened


class TextContent(Schema):
    """A text: of a person, of an earlier answer, or of an earlier answer's thinking."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class RefusalContent(Schema):
    """A refusal of an earlier answer."""

    type: Literal["refusal"]
    refusal: str


class ImageContent(Schema):
    """An image; only `data:` URLs are read."""

    type: Literal["input_image"]
    image_url: str | None = None
    detail: chat.ImageDetail = None

    @model_validator(mode="after")
    def _readable(self) -> "ImageContent":
        if not self.image_url:
            raise ValueError("must have an image_url; files are not kept here")
        chat.ImageUrl(url=self.image_url)
        return self


class AudioContent(Schema):
    """A sound."""

    type: Literal["input_audio"]
    input_audio: chat.InputAudio


Part = Annotated[TextContent | RefusalContent | ImageContent | AudioContent, Field(discriminator="type")]
Content = str | Annotated[list[Part], Field(max_length=256)]


class MessageItem(Schema):
    """A message of a person, of the application, or of an earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class FunctionCallItem(Schema):
    """A call of an earlier answer."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1, max_length=256)
    name: str = Field(min_length=1, max_length=128)
    arguments: str


class FunctionOutputItem(Schema):
    """What a client's function gave."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1, max_length=256)
    output: Content
    _written: str = PrivateAttr("")

    @property
    def written(self) -> str:
        """Where its client wrote of it; empty for an item of no request."""
        return self._written

    def written_at(self, place: str) -> "FunctionOutputItem":
        """Note where its client wrote of it."""
        self._written = place
        return self


class SummaryPart(Schema):
    """A piece of a summary of thinking."""

    type: Literal["summary_text"]
    text: str


class ThoughtPart(Schema):
    """A piece of thinking."""

    type: Literal["reasoning_text", "text"]
    text: str


class ReasoningItem(Schema):
    """The thinking of an earlier answer."""

    type: Literal["reasoning"]
    summary: list[SummaryPart] = Field(default_factory=list, max_length=256)
    content: list[ThoughtPart] | None = Field(default=None, max_length=256)


class McpCallItem(Schema):
    """A call that the mesh ran for an earlier answer."""

    type: Literal["mcp_call"]
    id: str = Field(min_length=1, max_length=256)
    server_label: str = Field(min_length=1, max_length=63)
    name: str = Field(min_length=1, max_length=63, description="With its server's, it is the name that models know.")
    arguments: str
    output: str | None = None
    error: Any = None


class McpListToolsItem(Schema):
    """What an earlier model was told of; this one is told anew."""

    type: Literal["mcp_list_tools"]


class McpApprovalItem(Schema):
    """A person's word about a call that waits for it."""

    type: Literal["mcp_approval_response"]
    approval_request_id: str = Field(min_length=1, max_length=512)
    approve: bool
    reason: str | None = Field(default=None, max_length=1024)


class McpApprovalRequestItem(Schema):
    """An earlier question; its answer finds it by its id."""

    type: Literal["mcp_approval_request"]


class ItemReference(Schema):
    """An item that an earlier response or a conversation shows, by its id."""

    type: Literal["item_reference"] | None = None
    id: str = Field(min_length=1, max_length=512)


class CompactionItem(Schema):
    """A conversation in short, as `POST /v1/responses/compact` gave it."""

    type: Literal["compaction"]
    encrypted_content: str = Field(max_length=4 * 1024 * 1024)

    @field_validator("encrypted_content")
    @classmethod
    def _ours(cls, content: str) -> str:
        opened(content)
        return content


def _type_of(item: Any) -> str | None:
    if isinstance(item, dict):
        bare = "message" if "role" in item else "item_reference" if "id" in item else ""
        return str(item.get("type") or bare)
    return getattr(item, "type", None) or "item_reference"


_TYPES = (
    "is of a type that is not read here; read are message, function_call, function_call_output, reasoning, compaction, "
    "item_reference, and what mcp tools give: mcp_call, mcp_list_tools"
)
_Said = (
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[McpCallItem, Tag("mcp_call")]
    | Annotated[McpListToolsItem, Tag("mcp_list_tools")]
    | Annotated[McpApprovalRequestItem, Tag("mcp_approval_request")]
    | Annotated[CompactionItem, Tag("compaction")]
    | Annotated[ItemReference, Tag("item_reference")]
)

InputItem = Annotated[
    _Said | Annotated[McpApprovalItem, Tag("mcp_approval_response")],
    Discriminator(
        _type_of,
        custom_error_type="item_type",
        custom_error_message=f"{_TYPES}, mcp_approval_request and mcp_approval_response",
    ),
]
"""What a response can begin with."""

SaidItem = Annotated[
    _Said,
    Discriminator(
        _type_of,
        custom_error_type="item_type",
        custom_error_message=f"{_TYPES} and mcp_approval_request. A question about a call is answered by "
        "POST /v1/responses, or it would reach nobody",
    ),
]
"""What can be added to a thread apart from any response."""
