"""The facade's settings: environment variables that begin with `FACADE_`."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from threadmesh.keys.file import FILE_NAME
from threadmesh.loopback import is_loopback
from threadmesh.settings import CallerSettings, data_directory


def _limit(what: str) -> Any:
    return Field(
        default=0,
        ge=0,
        le=2**53,
        description=f"{what}; 0 is no limit. [A key](keys.md) may have its own.",
    )


class FacadeSettings(CallerSettings):
    """How the OpenAI face behaves, and where the other units are."""

    model_config = SettingsConfigDict(env_prefix="FACADE_")

    port: int = Field(default=8080, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    inference_target: str = Field(default="127.0.0.1:50051", description="Where inference_svc is, as host:port.")
    tools_target: str = Field(default="127.0.0.1:50052", description="Where tools_svc is, as host:port.")
    context_target: str = Field(default="127.0.0.1:50053", description="Where context_svc is, as host:port.")
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer tokens that may use the API, separated by commas. Without any key, here or in the keys "
        "file, everybody who reaches the port may, so only loopback is listened on.",
    )
    keys_file: Path = Field(
        default_factory=lambda: data_directory() / FILE_NAME,
        description="TOML file of keys, which `threadmesh keys` writes ([docs/keys.md](keys.md)), read again when it "
        "changes. Unset: `keys.toml` in the data directory, from when it is there.",
    )
    hosts: str = Field(
        default="",
        description="Names, separated by commas, by which clients may address the API besides those of loopback; "
        "without any, a facade that listens beyond loopback may be addressed by every name.",
    )
    requests_per_minute: int = _limit("Requests for answers and vectors that one key may send a minute")
    tokens_per_minute: int = _limit("Tokens of prompts and answers that one key may use a minute")
    tool_calls_per_minute: int = _limit("Calls of the mesh's tools that the answers of one key may make a minute")
    concurrent_streams: int = _limit("Answers of one key that are waited for or read at the same time")
    stored_bytes: int = _limit("Bytes that the tenant of one key may have stored: threads, items, runs and their logs")
    places: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Answers that this process makes at the same time, waiting included; more are refused as overload, "
        "and one key has at most three quarters of them.",
    )
    stalled_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3_600,
        description="Time that a reader may take nothing of what waits for it until its connection is cut.",
    )
    arrival_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3_600,
        description="Time that a request's head may take to arrive until its connection is closed; a body has as long, "
        "and a second more for each KiB of it.",
    )
    share_prompts: bool = Field(
        default=False,
        description="Lets requests of different keys share what was computed of equal prompts; how fast an answer "
        "begins then tells whether somebody has sent its prompt before.",
    )
    default_tools: str = Field(
        default="none", description="Tools of the mesh for requests that name none: none, all, or names."
    )
    tool_rounds: int = Field(default=16, ge=0, le=64, description="Rounds of tool calls before the model must answer.")
    tool_result_characters: int = Field(
        default=16_000, ge=256, le=1_000_000, description="Characters of one tool's result that the model reads."
    )
    answer_tokens: int = Field(
        default=2_048,
        ge=0,
        le=2**31 - 1,
        description="Limit of an answer whose request sets none; 0 lets it go on to the end of the context.",
    )
    max_choices: int = Field(
        default=8,
        ge=1,
        le=128,
        description="Answers that one request may ask for with n; each takes a place in the engine.",
    )
    turn_seconds: float = Field(default=600.0, gt=0, le=86_400, description="Limit of one turn, tools included.")
    approve_after_tools: bool = Field(
        default=False,
        description="Ask a person about each call that may change something once a tool has answered in the same turn: "
        "anybody may have written what it said. Only tools whose effect is `read_only` are called without.",
    )
    approval_seconds: float = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="Time a person has to approve a tool call, or to answer its server; without an answer the call is "
        "denied, or its server told so. It is no part of the turn's.",
    )
    keepalive_seconds: float = Field(default=10.0, gt=0, le=300, description="Longest silence of a stream.")
    orchestrator_fields: bool = Field(
        default=False, description="Adds processing_ms, total_ms and prompt_bytes to the body of completions."
    )

    @model_validator(mode="after")
    def _guarded(self) -> "FacadeSettings":
        if (
            not self.keys()
            and not (self.keys_file_is_chosen() or self.keys_file.exists())
            and not is_loopback(self.listen)
        ):
            raise ValueError("FACADE_API_KEYS or FACADE_KEYS_FILE must be set to listen beyond loopback")
        return self

    def keys(self) -> tuple[str, ...]:
        """Give the bearer tokens."""
        return tuple(key.strip() for key in self.api_keys.get_secret_value().split(",") if key.strip())

    def keys_file_is_chosen(self) -> bool:
        """Say whether the keys file was named, and so must be there."""
        return "keys_file" in self.model_fields_set

    def host_names(self) -> tuple[str, ...]:
        """Give the names by which clients may address the API besides those of loopback."""
        return tuple(name.strip() for name in self.hosts.split(",") if name.strip())
