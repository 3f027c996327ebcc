"""The settings of context_svc: environment variables that begin with `CONTEXT_`."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from threadmesh.settings import UnitSettings, data_directory


def _default_store() -> str:
    return f"sqlite:{data_directory() / 'context.db'}"


class ContextSettings(UnitSettings):
    """Where context_svc listens and where it keeps what it remembers."""

    model_config = SettingsConfigDict(env_prefix="CONTEXT_")

    port: int = Field(default=50053, ge=0, le=65535, description="Port to serve; 0 takes a free one.")
    metrics_port: int = Field(default=9103, ge=0, le=65535, description="Port of `/metrics`; 0 takes a free one.")
    store: str = Field(
        default_factory=_default_store,
        pattern="^(sqlite:.+|memory:)$",
        description="Where threads and runs are kept: `sqlite:<path>` (by default `context.db` in the data directory), "
        "or `memory:`, which forgets them when the process ends.",
    )
