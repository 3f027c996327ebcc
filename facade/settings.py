"""The facade's settings: environment variables that begin with `FACADE_`."""

import ipaddress

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from threadmesh.settings import CallerSettings


class FacadeSettings(CallerSettings):
    """How the OpenAI face behaves, and where the other units are."""

    model_config = SettingsConfigDict(env_prefix="FACADE_")

    port: int = Field(default=8080, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    inference_target: str = Field(default="127.0.0.1:50051", description="Where inference_svc is, as host:port.")
    tools_target: str = Field(default="127.0.0.1:50052", description="Where tools_svc is, as host:port.")
    context_target: str = Field(default="127.0.0.1:50053", description="Where context_svc is, as host:port.")
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer tokens that may use the API, separated by commas. Without any, everybody who reaches the "
        "port may, so only loopback is listened on.",
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
    turn_seconds: float = Field(default=600.0, gt=0, le=86_400, description="Limit of one turn, tools included.")
    approval_seconds: float = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="Time a person has to approve a tool call; without an answer the call is denied. It is no part of "
        "the turn's.",
    )
    keepalive_seconds: float = Field(default=10.0, gt=0, le=300, description="Longest silence of a stream.")
    orchestrator_fields: bool = Field(
        default=False, description="Adds processing_ms, total_ms and prompt_bytes to the body of completions."
    )

    @model_validator(mode="after")
    def _guarded(self) -> "FacadeSettings":
        if not self.keys() and not _loopback(self.listen):
            raise ValueError("FACADE_API_KEYS must be set to listen beyond loopback")
        return self

    def keys(self) -> tuple[str, ...]:
        """Give the bearer tokens."""
        return tuple(key.strip() for key in self.api_keys.get_secret_value().split(",") if key.strip())


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
