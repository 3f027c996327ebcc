"""The settings of tools_svc: environment variables that begin with `TOOLS_`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from threadmesh.settings import UnitSettings, data_directory
from tools_svc.domain.pins import Changes


class ToolsSettings(UnitSettings):
    """Settings of tools_svc."""

    model_config = SettingsConfigDict(env_prefix="TOOLS_")

    port: int = Field(default=50052, ge=0, le=65535, description="Port to serve; 0 takes a free one.")
    metrics_port: int = Field(default=9102, ge=0, le=65535, description="Port of `/metrics`; 0 takes a free one.")
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
    startup_wait_seconds: float = Field(
        default=5.0, ge=0, le=600, description="Time for which the service says it is not ready while servers start."
    )
    definition_changes: Changes = Field(
        default=Changes.QUARANTINE,
        description="What happens to a tool whose definition is not the one that was first seen: `quarantine` holds it "
        "back until a person approves it, `accept` takes every change; [docs/tools.md](tools.md) says more.",
    )
    state_dir: Path = Field(
        default_factory=lambda: data_directory() / "tools",
        description="Directory that remembers the definitions of tools, in `pins.json`; of one process alone.",
    )
