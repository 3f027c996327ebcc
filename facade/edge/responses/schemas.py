"""The body of a request for a response: OpenAI's fields, strictly typed, with OpenAI's limits.

Unknown fields are ignored, since clients add some; the response names them in `x-threadmesh-ignored`.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from facade.edge.chat.fields import Integer, InVain, Schema, Vain, inconsistent
from facade.edge.chat.refused import Prompt, ReadOnly
from facade.edge.chat.sampling import SamplingFields
from facade.edge.chat.schemas import Effort, JsonSchema, Metadata, ServiceTier, StreamOptions
from facade.edge.responses.include import ENCRYPTED
from facade.edge.responses.input_items import InputItem
from facade.edge.responses.tool_choice import Choice

_TOOL_NAME = r"^[a-zA-Z0-9_-]{1,64}$"


class FunctionTool(Schema):
    """A function that the client can run."""

    type: Literal["function"]
    name: str = Field(pattern=_TOOL_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolFilter(Schema):
    """Tools by their names."""

    tool_names: list[str] = Field(default_factory=list, max_length=512)
    read_only: ReadOnly = None


class ApprovalFilter(Schema):
    """Which tools need approval, and which never do; those that are not named do."""

    always: ToolFilter | None = None
    never: ToolFilter | None = None


class McpTool(Schema):
    """A tool server that the mesh knows by `server_label`, and which of its tools the model may call."""

    type: Literal["mcp"]
    server_label: str = Field(min_length=1, max_length=128)
    server_description: str | None = None
    allowed_tools: list[str] | ToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = Field(
        default=None, description="Absent: never. Where the operator of the mesh wants approval, it is needed anyway."
    )

    @model_validator(mode="before")
    @classmethod
    def _configured(cls, given: Any) -> Any:
        for field in ("server_url", "connector_id", "authorization", "headers", "tunnel_id"):
            if isinstance(given, dict) and given.get(field) is not None:
                raise ValueError(f"may not have {field}: only servers of the mesh's own configuration are called")
        return given

    def needs_approval(self, tool: str) -> bool:
        """Say whether each call of a tool, by its server's own name, needs approval."""
        match self.require_approval:
            case ApprovalFilter(never=never, always=always):
                if never is not None and tool in never.tool_names:
                    return False
                return always is None or tool in always.tool_names or never is not None
            case said:
                return said == "always"


def _type_of(value: Any) -> str | None:
    return str(value.get("type")) if isinstance(value, dict) else getattr(value, "type", None)


Tool = Annotated[
    Annotated[FunctionTool, Tag("function")] | Annotated[McpTool, Tag("mcp")],
    Discriminator(
        _type_of,
        custom_error_type="tool_type",
        custom_error_message="must be of type function or mcp; no other is run here",
    ),
]


class TextFormat(Schema):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(default=None, pattern=_TOOL_NAME)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(alias="schema", default=None)
    strict: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> "TextFormat":
        if self.type == "json_schema" and (self.schema_ is None or self.name is None):
            raise ValueError("of type json_schema must have a name and a schema")
        return self

    def json_schema(self) -> JsonSchema | None:
        """Give the schema as chat completions have it."""
        if self.type != "json_schema":
            return None
        told = {"name": self.name, "description": self.description, "schema": self.schema_, "strict": self.strict}
        return JsonSchema.model_validate(told)


class TextOptions(Schema):
    """How the text of the answer is to be."""

    format: TextFormat | None = None
    verbosity: Annotated[Literal["low", "medium", "high"] | None, InVain()] = None


class ReasoningOptions(Schema):
    """How much is to be thought."""

    effort: Effort | None = None
    summary: Annotated[Literal["auto", "concise", "detailed"] | None, InVain()] = None


class ConversationReference(Schema):
    """A conversation."""

    id: str = Field(min_length=1, max_length=128)


Input = str | Annotated[list[InputItem], Field(min_length=1, max_length=2048)]


class ResponseRequest(SamplingFields):
    """The body of `POST /v1/responses`."""

    input: Input = Field(default=[], description="Absent: what was said before is answered as it stands.")
    model: str | None = Field(default=None, max_length=256, description="Absent: the default model.")
    instructions: str | None = Field(default=None, description="Hold for this response alone.")
    previous_response_id: str | None = Field(default=None, max_length=128)
    conversation: Annotated[str, Field(min_length=1, max_length=128)] | ConversationReference | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: bool | None = None
    store: bool | None = None
    max_output_tokens: Integer | None = Field(default=None, ge=1, le=2**31 - 1)
    max_tool_calls: Integer | None = Field(default=None, ge=1, le=1024, description="Of the mesh's own tools.")
    top_logprobs: Integer | None = Field(default=None, ge=0, le=20)
    include: Annotated[list[str] | None, Field(max_length=32), InVain(only=(ENCRYPTED,))] = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Metadata | None = None
    user: str | None = Field(default=None, max_length=512)
    safety_identifier: str | None = Field(default=None, max_length=64)
    prompt_cache_key: str | None = Field(default=None, max_length=512)
    service_tier: ServiceTier = None
    access_programs: Vain = None
    background_options: Vain = None
    context_management: Vain = None
    image: Vain = None
    moderation: Vain = None
    prompt_cache_options: Vain = None
    prompt_cache_retention: Vain = None
    prompt: Prompt = None

    @model_validator(mode="after")
    def _consistent(self) -> "ResponseRequest":
        if self.stream_options is not None and not self.stream:
            raise inconsistent("stream_options", "stream_options needs stream to be true.")
        if self.background and self.store is False:
            raise inconsistent("store", "A response in the background must be stored.")
        if self.conversation is not None and self.previous_response_id is not None:
            both = "A response goes on with a conversation or behind a previous_response_id, not with both."
            raise inconsistent("previous_response_id", both)
        names = [tool.name for tool in self.tools or () if isinstance(tool, FunctionTool)]
        if len(set(names)) < len(names):
            raise inconsistent("tools", "tools names two functions alike; give each its own name.")
        labels = [tool.server_label for tool in self.tools or () if isinstance(tool, McpTool)]
        if len(set(labels)) < len(labels):
            raise inconsistent("tools", "tools names one server twice; say all of it at once.")
        return self

    def conversation_named(self) -> dict[str, str] | None:
        """Give the conversation as a response shows it; None where there is none."""
        named = self.conversation
        return None if named is None else {"id": named if isinstance(named, str) else named.id}
