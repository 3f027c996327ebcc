"""The settings of tools_svc: environment variables that begin with `TOOLS_`."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from threadmesh.loopback import is_loopback
from threadmesh.settings import UnitSettings, data_directory
from tools_svc.domain.pins import Changes, Suspicious

_PASSWORDS = re.compile(r"(://[^:/@]*:)[^@]*(@)")


class Runner(StrEnum):
    """Who carries tasks."""

    INLINE = "inline"
    CELERY = "celery"


class ToolsSettings(UnitSettings):
    """Settings of tools_svc."""

    model_config = SettingsConfigDict(env_prefix="TOOLS_")

    port: int = Field(default=50052, ge=0, le=65535, description="Port to serve; 0 takes a free one.")
    metrics_port: int = Field(
        default=9102, ge=0, le=65535, description="Port of `/metrics` and `/readyz`; 0 takes a free one."
    )
    servers_file: str = Field(
        default="",
        description="Path of the JSON file that names the MCP servers (`mcpServers`); empty runs mcp-server-time and "
        "mcp-server-git.",
    )
    call_timeout_seconds: float = Field(
        default=60.0, gt=0, le=86400, description="Time a call may take where the servers file sets none."
    )
    connect_timeout_seconds: float = Field(
        default=20.0, gt=0, le=600, description="Time a server gets to start and to list its tools."
    )
    answer_seconds: float = Field(
        default=900.0,
        gt=0,
        le=86400,
        description="Time for which a call waits for the answer to what its server asks; longer than "
        "`FACADE_APPROVAL_SECONDS`.",
    )
    startup_wait_seconds: float = Field(
        default=5.0, ge=0, le=600, description="Time for which the service says it is not ready while servers start."
    )
    definition_changes: Changes = Field(
        default=Changes.QUARANTINE,
        description="What happens to a tool whose definition is not the one that was first seen: `quarantine` holds it "
        "back until a person approves it, `accept` takes every change; [docs/tools.md](tools.md) says more.",
    )
    suspicious_definitions: Suspicious = Field(
        default=Suspicious.OFFER,
        description="What happens to a tool whose definition an operator should look at: `offer` warns of it, `hold` "
        "holds it back until a person approves it; [docs/tools.md](tools.md#looked-at) says what that is.",
    )
    state_dir: Path = Field(
        default_factory=lambda: data_directory() / "tools",
        description="Directory that remembers the definitions of tools, in `pins.json`, and tasks; of one process "
        "alone, and its workers.",
    )
    task_store: str = Field(
        default="",
        pattern=r"^(memory:|sqlite:.+|postgres(ql)?://.*|)$",
        description="Where tasks are kept: `sqlite:<path>`, `postgresql://<user>@<host>/<database>` or `memory:`; "
        "empty is `tasks.db` in `TOOLS_STATE_DIR`. [docs/tools.md](tools.md#long-tools) says more.",
    )
    task_runner: Runner = Field(
        default=Runner.INLINE,
        description="Who carries tasks: `inline` is tools_svc itself, `celery` are processes of `threadmesh worker`.",
    )
    task_broker: str = Field(
        default="",
        pattern=r"^((filesystem:///.+|rediss?://.*|redis\+socket://.*)|)$",
        description="Broker of `celery`: `filesystem:///<directory>` or `redis://...`; empty is the directory `broker` "
        "in `TOOLS_STATE_DIR`.",
    )
    task_parallel: int = Field(default=8, ge=1, le=1024, description="Tasks that one process carries at once.")
    task_lease_seconds: float = Field(
        default=15.0,
        ge=1,
        le=600,
        description="Time after which a task is taken from a process that gives no sign of life.",
    )

    worker_metrics_port: int = Field(
        default=9112, ge=0, le=65535, description="Port of a worker's `/metrics`; 0 takes a free one."
    )

    def effective(self) -> dict[str, Any]:
        """Give every setting as it is in force, without the passwords of addresses."""
        masked = {name: _PASSWORDS.sub(r"\1***\2", getattr(self, name)) for name in ("task_store", "task_broker")}
        return {**super().effective(), **masked}

    gateway_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of the MCP server that offers all tools at `/mcp`; empty serves none, 0 takes a free one.",
    )
    gateway_listen: str = Field(default="127.0.0.1", description="Address of that MCP server.")
    gateway_token: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token that its clients must send; empty lets everybody in, which only loopback may.",
    )
    gateway_hosts: str = Field(
        default="",
        description="Names, separated by commas, by which clients may address it besides those of loopback.",
    )

    @field_validator("gateway_port", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @model_validator(mode="after")
    def _guarded(self) -> "ToolsSettings":
        open_to_all = self.gateway_port is not None and not self.gateway_token.get_secret_value()
        if open_to_all and not is_loopback(self.gateway_listen):
            raise ValueError("TOOLS_GATEWAY_TOKEN must be set for a gateway beyond loopback")
        return self

    def hosts(self) -> tuple[str, ...]:
        """Give the names by which clients may address the gateway besides those of loopback."""
        return tuple(name.strip() for name in self.gateway_hosts.split(",") if name.strip())
