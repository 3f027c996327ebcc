"""What a request asks for, apart from what it says; kept with the run so that any process can go on with it."""

import json
from dataclasses import dataclass, field
from typing import Any

from facade.domain.written import Written
from threadmesh.conversation import ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """The form of the answer: `text`, `json_object`, or `json_schema` with a schema.

    A `lenient` one holds for what of the schema can be guaranteed, instead of being refused where it says more.
    """

    type: str = "text"
    name: str = ""
    schema_json: str = ""
    lenient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTools:
    """Which tools of the mesh the model may call: all of them, or those named."""

    everything: bool = False
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ServerTools":
        """Read `none`, `all`, or names separated by commas."""
        match text.strip():
            case "" | "none":
                return cls()
            case "all":
                return cls(everything=True)
            case names:
                return cls(names=tuple(name.strip() for name in names.split(",") if name.strip()))

    def __bool__(self) -> bool:
        return self.everything or bool(self.names)

    def wants(self, name: str) -> bool:
        """Whether that tool is one of them."""
        return self.everything or name in self.names


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParameters:
    """How a run is to be answered. `tools` are the client's own; `server_tools` are run by the mesh.

    `thinking` and `reasoning_effort` are for models that think before they answer; None and empty are their default.
    What is computed of a prompt is shared within one `cache_scope` only. `include_usage` and `show_events` say what the
    stream of the answer shows beyond it, whenever it is read. What the answer uses counts for the `caller`, which is
    always a key.

    `instructions` hold for this run alone and are no part of its thread. `max_tool_calls` limits those of the mesh.
    Where the model cannot read the `whole_thread`, the run fails instead of leaving the oldest turns out. One that
    `shortens_input` leaves the oldest of its own input out, too, before it fails.
    Of the `forced_tools` one is called first. A `narrowed` request had more tools than it lets the model call: a call
    of any other fails and is not handed to the client.
    Calls of the `asking_tools` need a person's approval. `response_json` is what the edge keeps of a request for a
    response. Several `choices` are as many answers to the same prompt. What the answer will be like is a `prediction`,
    as far as the request knows. `stored_messages`
    counts those of a chat completion that is stored; 0 where it is not. `written` says where in the request its media
    and tools stand.
    """

    model: str = ""
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    response_format: ResponseFormat = ResponseFormat()
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    server_tools: ServerTools = ServerTools()
    forced_tools: tuple[str, ...] = ()
    narrowed: bool = False
    top_logprobs: int | None = None
    thinking: bool | None = None
    reasoning_effort: str = ""
    cache_scope: str = ""
    caller: str = ""
    include_usage: bool = False
    show_events: bool = False
    instructions: str = ""
    max_tool_calls: int | None = None
    whole_thread: bool = False
    shortens_input: bool = False
    asking_tools: tuple[str, ...] = ()
    response_json: str = ""
    choices: int = 1
    prediction: str = ""
    stored_messages: int = 0
    written: Written = field(default_factory=dict)

    def to_json(self) -> str:
        """Write the parameters for the run's record."""
        return json.dumps(_fields(self), default=_fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "TurnParameters":
        """Read what `to_json` wrote, here or in an older version: what it did not know has its default."""
        raw: dict[str, Any] = json.loads(text)
        raw.pop("owner", None)  # now the run has a tenant
        choice = raw.pop("tool_choice")
        tools = raw.pop("server_tools")
        return cls(
            sampling=_sampling(raw.pop("sampling")),
            response_format=ResponseFormat(**raw.pop("response_format")),
            tools=tuple(ToolDefinition(**tool) for tool in raw.pop("tools")),
            tool_choice=ToolChoice(mode=ToolChoiceMode(choice["mode"]), name=choice["name"]) if choice else None,
            server_tools=ServerTools(everything=tools["everything"], names=tuple(tools["names"])),
            stop=tuple(raw.pop("stop")),
            forced_tools=tuple(raw.pop("forced_tools", ())),
            asking_tools=tuple(raw.pop("asking_tools", ())),
            **raw,
        )


def _fields(value: Any) -> dict[str, Any]:
    """Give the fields of a dataclass as they are; `asdict` copies what is in them as well."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _sampling(raw: dict[str, Any]) -> Sampling:
    bias = {int(token): value for token, value in raw.pop("logit_bias").items()}
    dry, mirostat, xtc = (raw.pop(name, None) for name in ("dry", "mirostat", "xtc"))
    if dry:
        dry["sequence_breakers"] = tuple(dry["sequence_breakers"])
    return Sampling(
        **raw,
        logit_bias=bias,
        dry=Dry(**dry) if dry else None,
        mirostat=Mirostat(**mirostat) if mirostat else None,
        xtc=Xtc(**xtc) if xtc else None,
    )
