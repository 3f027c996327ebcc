"""Looks whether a Redis server keeps what it has acknowledged."""

from collections.abc import Iterator
from dataclasses import dataclass

from context_svc.adapters.redis_server import Ask
from threadmesh.errors import MeshError, StoreUnavailable
from threadmesh.settings import ConfigurationError

_OLDEST = (7, 0)
_WAITAOF_SINCE = (7, 2)  # https://valkey.io/commands/waitaof/
_INSTEAD = "or accept the loss with CONTEXT_ALLOW_UNSAFE_STORE=true"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says about itself; `fsync` is empty where it does not tell."""

    run_id: str
    version: tuple[int, ...]
    role: str
    clustered: bool
    appends: bool
    fsync: str
    fsync_during_rewrite: bool
    eviction: str

    @property
    def waits_for_disk(self) -> bool:
        """Say whether every answer comes after the disk has what it answers."""
        return self.appends and self.fsync == "always" and self.fsync_during_rewrite

    @property
    def can_wait(self) -> bool:
        """Say whether WAITAOF tells when the disk has something."""
        return self.appends and self.version >= _WAITAOF_SINCE


async def ask_facts(ask: Ask) -> ServerFacts:
    """Ask a server about itself; raises `StoreUnavailable` while it loads its file, for then it does not know."""
    lines = (line.partition(":") for line in (await ask("INFO")).decode().splitlines())
    info = {name: value for name, _, value in lines}
    if info.get("loading") == "1":
        raise StoreUnavailable(cause="LOADING")
    return ServerFacts(
        run_id=info["run_id"],
        version=tuple(int(part) for part in info["redis_version"].split(".")[:2]),
        role=info.get("role", "master"),
        clustered=info.get("cluster_enabled") == "1",
        appends=info.get("aof_enabled") == "1",
        fsync=await _configured(ask, "appendfsync"),
        fsync_during_rewrite=await _configured(ask, "no-appendfsync-on-rewrite") == "no",
        eviction=info.get("maxmemory_policy", ""),
    )


def refuse_unsuitable(facts: ServerFacts) -> None:
    """Raise `ConfigurationError` for a server that cannot be used at all."""
    wrong = ""
    if facts.version < _OLDEST:
        wrong = "is older than version 7.0; use Valkey, or Redis 7.0 or later"
    elif facts.clustered:
        wrong = "is part of a cluster; name a server of its own"
    elif facts.role != "master":
        wrong = "is a replica, which takes no writes; name the primary"
    if wrong:
        raise ConfigurationError(f"CONTEXT_STORE: the Redis server {wrong}.")


def refuse_unsafe(facts: ServerFacts) -> None:
    """Raise `ConfigurationError` for a server that can lose what it has acknowledged."""
    if dangers := list(lost_promises(facts)):
        raise ConfigurationError(
            f"CONTEXT_STORE: the Redis server can lose acknowledged writes: {'; '.join(dangers)}; {_INSTEAD}."
        )


def lost_promises(facts: ServerFacts) -> Iterator[str]:
    """Say what can be lost, and which setting of the server prevents it."""
    if not facts.appends:
        yield "without an append-only file they do not survive its death (set appendonly yes)"
    elif facts.fsync not in {"always", "everysec"}:
        yield "it does not say that it writes them to the disk (set appendfsync always)"
    elif not facts.waits_for_disk and not facts.can_wait:
        yield "it cannot say when the disk has them (set appendfsync always, no-appendfsync-on-rewrite no)"
    if facts.eviction != "noeviction":
        yield "it forgets some when its memory is full (set maxmemory-policy noeviction)"


async def _configured(ask: Ask, name: str) -> str:
    """Give a setting, empty where the server keeps it secret."""
    try:
        answer = await ask("CONFIG", "GET", name)
    except MeshError:
        return ""
    return answer[1].decode() if answer else ""
