"""What a request asks for, apart from what it says; kept with the run so that any process can go on with it."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from threadmesh.conversation import ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.sampling import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """The form of the answer: `text`, `json_object`, or `json_schema` with a schema."""

    type: str = "text"
    name: str = ""
    schema_json: str = ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParameters:
    """How a run is to be answered. `tools` are the client's own; `server_tools` are run by the mesh."""

    model: str = ""
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    response_format: ResponseFormat = ResponseFormat()
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    server_tools: ServerTools = ServerTools()
    top_logprobs: int | None = None

    def to_json(self) -> str:
        """Write the parameters for the run's record."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "TurnParameters":
        """Read what `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        choice = raw.pop("tool_choice")
        sampling = raw.pop("sampling")
        bias = {int(token): value for token, value in sampling.pop("logit_bias").items()}
        tools = raw.pop("server_tools")
        return cls(
            sampling=Sampling(**sampling, logit_bias=bias),
            response_format=ResponseFormat(**raw.pop("response_format")),
            tools=tuple(ToolDefinition(**tool) for tool in raw.pop("tools")),
            tool_choice=ToolChoice(mode=ToolChoiceMode(choice["mode"]), name=choice["name"]) if choice else None,
            server_tools=ServerTools(everything=tools["everything"], names=tuple(tools["names"])),
            stop=tuple(raw.pop("stop")),
            **raw,
        )
