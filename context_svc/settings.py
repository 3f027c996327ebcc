"""The settings of context_svc: environment variables that begin with `CONTEXT_`."""

import re
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from threadmesh.settings import UnitSettings, data_directory

_PASSWORDS = re.compile(r"(//[^/@:]*:).*(@)|(password=)[^&\s]*")


def _default_store() -> str:
    return f"sqlite:{data_directory() / 'context.db'}"


class ContextSettings(UnitSettings):
    """Where context_svc listens and where it keeps what it remembers."""

    model_config = SettingsConfigDict(env_prefix="CONTEXT_")

    port: int = Field(default=50053, ge=0, le=65535, description="Port to serve; 0 takes a free one.")
    metrics_port: int = Field(default=9103, ge=0, le=65535, description="Port of `/metrics`; 0 takes a free one.")
    store: str = Field(
        default_factory=_default_store,
        pattern="^(sqlite:.+|redis:(rediss?|unix)://.+|memory:)$",
        description="Where threads and runs are kept: `sqlite:<path>` (by default `context.db` in the data directory), "
        "`redis:<url>` for a Redis or Valkey server that several processes may share, such as "
        "`redis:redis://127.0.0.1:6379/0`, or `memory:`, which forgets them when the process ends.",
    )
    allow_unsafe_store: bool = Field(
        default=False,
        description="Start on a store that can lose acknowledged writes; the log says which promise is given up.",
    )

    def effective(self) -> dict[str, Any]:
        """Give every setting as it is in force, secrets masked."""
        return {**super().effective(), "store": _PASSWORDS.sub(r"\1\3***\2", self.store)}
