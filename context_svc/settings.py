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
    metrics_port: int = Field(
        default=9103, ge=0, le=65535, description="Port of `/metrics` and `/readyz`; 0 takes a free one."
    )
    store: str = Field(
        default_factory=_default_store,
        pattern="^(sqlite:.+|postgres:.+|redis:(rediss?|unix)://.+|memory:)$",
        description="Where threads and runs are kept: `sqlite:<path>` (by default `context.db` in the data directory), "
        "`postgres://<user>@<host>/<database>`, which several processes may share (`?schema=<name>` is by default "
        "`threadmesh`; the password comes from `PGPASSWORD` or `PGPASSFILE`), `redis:<url>` for a Redis or Valkey "
        "server that several processes may share, such as `redis:redis://127.0.0.1:6379/0`, or `memory:`, which "
        "forgets them when the process ends.",
    )
    retention: str = Field(
        default="",
        description="Rules for what is kept of threads, apart by commas or lines, such as "
        "`discord:* max_age=30d max_items=1000, * max_idle=1w`; [docs/retention.md](retention.md) describes them. "
        "Empty keeps everything.",
    )
    event_seconds: float = Field(
        default=86_400.0,
        ge=60,
        le=3_153_600_000,
        description="How long the events of a run that has ended can be replayed, also to a repeated request with its "
        "idempotency key. Its end and the thread's items stay.",
    )
    store_seconds: float = Field(
        default=1.0,
        ge=0.1,
        le=60,
        description="How long an operation on PostgreSQL or Redis takes at most; what takes longer is refused with "
        "`UNAVAILABLE`, and may be asked for again. A server that is far away or busy needs more.",
    )
    allow_unsafe_store: bool = Field(
        default=False,
        description="Start on a store that can lose acknowledged writes; the log says which promise is given up.",
    )

    def effective(self) -> dict[str, Any]:
        """Give every setting as it is in force, secrets masked."""
        return {**super().effective(), "store": _PASSWORDS.sub(r"\1\3***\2", self.store)}
