"""What the servers file says about one server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadmesh.breaker import BreakerLimits
from tools_svc.domain.policy import MOST_PARALLEL, MOST_WAITING, ServerPolicy, ToolPolicy
from tools_svc.domain.telling import DESCRIPTION
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.tool import ApprovalRule, Effect

NICE = 5
"""By how much a server that we start yields the CPU, where nothing else is said: to the units, models above all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a server that we start may not: limits of each of its processes, and of all processes of its user.

    `memory_mb` counts what a process writes to, in MiB, not the addresses that it reserves. `sha256` is what the file
    of its command must hash to, in hexadecimal digits; empty takes it as it is. `user` is a name or a number; None is
    ours. Without `network` it reaches nothing but itself.
    """

    memory_mb: int | None = None
    open_files: int | None = None
    processes: int | None = None
    sha256: str = ""
    user: str | int | None = None
    network: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioServer:
    """A server that we start: a command without a shell. Values of `env` may name secrets as `${env:}`, `${file:}`.

    It yields the CPU to us by `nice`, 0 to 19, and may do what its `confinement` leaves to it. One that runs a file of
    functions knows it as `functions`, and by its content as `version`.
    """

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    nice: int = NICE
    confinement: Confinement = field(default_factory=Confinement)
    functions: Path | None = None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """A server that we reach by streamable HTTP.

    Values of `headers` and the query of `url` may name secrets as `${env:}`, `${file:}`. It may be of a
    private network only where the file says so.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    private_network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SseServer:
    """A server that we reach by HTTP with SSE, as of 2024-11-05; the rest as of `HttpServer`."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    private_network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to POST what a server announces, as of `HttpServer`.

    A `body` is sent in the place of the parameters; `hook_body` tells how they stand in it.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    private_network: bool = False
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One server: how to reach it, seconds that a call may take (None: the unit's default), its tools' policy.

    `quirks` name how it deviates from the protocol; `mcp_quirks.QUIRKS` tells what they mean. `notifications` are
    hooks by the method of a notification that the protocol does not know.
    It may ask for a person's input (`elicitation`) and for a model's words (`sampling`) only where the file says so.
    `hints_trusted`: the server's own word on effects holds where the file has none, because the operator wrote it.
    """

    name: str
    transport: StdioServer | HttpServer | SseServer
    timeout_seconds: float | None = None
    disabled: bool = False
    effects: Mapping[str, Effect] = field(default_factory=dict)
    quirks: tuple[str, ...] = ()
    notifications: Mapping[str, Webhook] = field(default_factory=dict)
    hints_trusted: bool = False
    max_parallel: int = MOST_PARALLEL
    max_waiting: int = MOST_WAITING
    breaker: BreakerLimits | None = field(default_factory=BreakerLimits)
    approval: ApprovalRule = ApprovalRule.NEVER
    untrusted: bool | None = None
    description_characters: int = DESCRIPTION
    rate: Rate | None = None
    tools: Mapping[str, ToolPolicy] = field(default_factory=dict)
    elicitation: bool = False
    sampling: bool = False


def server_policy(server: ServerConfig, *, call_seconds: float) -> ServerPolicy:
    """Give the rules for a server's tools; a call may take `call_seconds` where the file says nothing."""
    return ServerPolicy(
        timeout_seconds=server.timeout_seconds or call_seconds,
        effects=server.effects,
        hints_trusted=server.hints_trusted,
        max_parallel=server.max_parallel,
        max_waiting=server.max_waiting,
        breaker=server.breaker,
        rate=server.rate,
        approval=server.approval,
        untrusted=server.untrusted,
        description_characters=server.description_characters,
        tools=server.tools,
    )
