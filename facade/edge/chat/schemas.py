"""The body of a chat completion request: OpenAI's fields, strictly typed, with OpenAI's limits.

Unknown fields are ignored, since clients add some; the response names them in `x-threadmesh-ignored`.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from facade.edge.chat.fields import Integer, InVain, Schema, Vain, inconsistent
from facade.edge.chat.media import decode_base64, require_media, split_data_url
from facade.edge.chat.prediction import Prediction
from facade.edge.chat.refused import Audio, FunctionCall, Functions, WebSearch
from facade.edge.chat.sampling import SamplingFields
from facade.edge.chat.tool_choice import Choice

_TOOL_NAME = r"^[a-zA-Z0-9_-]{1,64}$"


class TextPart(Schema):
    """A text."""

    type: Literal["text"]
    text: str


class RefusalPart(Schema):
    """A refusal of an earlier answer."""

    type: Literal["refusal"]
    refusal: str


ImageDetail = Annotated[Literal["auto", "low", "high", "original"] | None, InVain(but=("auto",))]
"""How closely an image is to be looked at: as the model's own encoder does, whatever is asked."""


class ImageUrl(Schema):
    """Where an image is; only `data:` URLs are read, so that no request makes the mesh fetch anything."""

    url: str
    detail: ImageDetail = None

    @field_validator("url")
    @classmethod
    def _data_url(cls, url: str) -> str:
        if not url[:11].lower() == "data:image/":
            raise ValueError("must be a data: URL with a base64 image; other URLs are not fetched")
        media_type, data = split_data_url(url)
        require_media(data, declared=media_type)
        return url


class ImagePart(Schema):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Schema):
    """A sound."""

    format: Literal["wav", "mp3"]
    data: str

    @field_validator("data")
    @classmethod
    def _sound(cls, data: str, info: ValidationInfo) -> str:
        if "format" in info.data:
            require_media(decode_base64(data), declared=f"audio/{info.data['format']}")
        return data


class AudioPart(Schema):
    """A sound."""

    type: Literal["input_audio"]
    input_audio: InputAudio


Part = Annotated[TextPart | RefusalPart | ImagePart | AudioPart, Field(discriminator="type")]
Content = str | Annotated[list[Part], Field(max_length=256)]


class Function(Schema):
    """The function of a tool call."""

    name: str = Field(min_length=1, max_length=128)
    arguments: str


class ToolCall(Schema):
    """A tool call of an earlier answer."""

    id: str = Field(min_length=1, max_length=256)
    type: Literal["function"] = "function"
    function: Function


class Message(Schema):
    """One entry of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = Field(default=None, max_length=256)
    tool_calls: list[ToolCall] | None = Field(default=None, max_length=128)
    tool_call_id: str | None = Field(default=None, max_length=256)
    function_call: FunctionCall = None
    refusal: str | None = Field(default=None, description="What an earlier answer said in refusing.")
    reasoning_content: str | None = Field(default=None, description="The thinking of an earlier answer.")

    @model_validator(mode="after")
    def _complete(self) -> "Message":
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("of role tool must have a tool_call_id")
        if self.content is None and not (self.role == "assistant" and (self.tool_calls or self.refusal)):
            raise ValueError("must have content")
        return self


class FunctionDefinition(Schema):
    """A function that the client can run."""

    name: str = Field(pattern=_TOOL_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Schema):
    """A tool that the client can run."""

    type: Literal["function"]
    function: FunctionDefinition


class JsonSchema(Schema):
    """The schema of an answer."""

    name: str = Field(pattern=_TOOL_NAME)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema", default_factory=dict)
    strict: bool | None = None


class ResponseFormat(Schema):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("of type json_schema must have a json_schema")
        return self


class StreamOptions(Schema):
    """What a stream carries besides the answer."""

    include_usage: bool = False
    include_obfuscation: Annotated[bool | None, InVain(but=(False,))] = None


Stop = Annotated[str, Field(min_length=1, max_length=256)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


ServiceTier = Annotated[
    str | None, Field(max_length=64, description="There is one, `default`."), InVain(but=("auto", "default"))
]


def _text_only(given: Any) -> Any:
    if given == "audio":
        raise ValueError("must be text; no model here makes speech")
    return given


Modality = Annotated[Literal["text"], BeforeValidator(_text_only)]


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much is to be thought."""


class ChatTemplateKwargs(Schema):
    """What the model's chat template is told."""

    enable_thinking: bool | None = Field(default=None, description="For models that can think or not, like Qwen3.")


class ChatRequest(SamplingFields):
    """The body of `POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1, max_length=2048)
    model: str | None = Field(default=None, max_length=256, description="Absent: the default model.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Integer | None = Field(default=None, ge=1, le=2**31 - 1)
    max_completion_tokens: Integer | None = Field(default=None, ge=1, le=2**31 - 1)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    n: Integer | None = Field(
        default=None, ge=1, le=128, description="Answers to the same prompt, up to FACADE_MAX_CHOICES of them."
    )
    logprobs: bool | None = None
    top_logprobs: Integer | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = Field(
        default=None, description="none and minimal: no thinking, from models that can do without."
    )
    chat_template_kwargs: ChatTemplateKwargs | None = None
    prediction: Prediction | None = Field(
        default=None, description="What the answer will be like: tokens that come true are computed together."
    )
    metadata: Metadata | None = None
    store: bool | None = Field(
        default=None, description="Keep the completion; within a named thread it is kept anyway."
    )
    user: str | None = Field(default=None, max_length=512)
    safety_identifier: str | None = Field(default=None, max_length=64)
    prompt_cache_key: str | None = Field(
        default=None, max_length=512, description="Not needed: what prompts have in common is found by itself."
    )
    service_tier: ServiceTier = None
    verbosity: Annotated[Literal["low", "medium", "high"] | None, InVain()] = None
    moderation: Vain = None
    prompt_cache_options: Vain = None
    prompt_cache_retention: Vain = None
    modalities: list[Modality] | None = None
    audio: Audio = None
    functions: Functions = None
    function_call: Functions = None
    web_search_options: WebSearch = None

    @model_validator(mode="after")
    def _consistent(self) -> "ChatRequest":
        if self.stream_options is not None and not self.stream:
            raise inconsistent("stream_options", "stream_options needs stream to be true.")
        if self.top_logprobs is not None and not self.logprobs:
            raise inconsistent("top_logprobs", "top_logprobs needs logprobs to be true.")
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise inconsistent("tools", "tools names two functions alike; give each its own name.")
        return self


def canonical(value: dict[str, Any]) -> str:
    """Write a JSON object as the other units read it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
