"""`threadmesh status`: how each unit is, and what the mesh has."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from threadmesh.cli.calls import list_models, list_threads, list_tools, reached
from threadmesh.cli.health import Condition, Health, ask
from threadmesh.cli.link_status import LinkStatus, link_statuses, shown
from threadmesh.cli.locate import Located
from threadmesh.cli.output import print_json, print_table, stdout
from threadmesh.cli.targets import Target
from threadmesh.cli.units import UNITS, Probe, Unit
from threadmesh.errors import MeshError

SERVER_STATES = {1: "connecting", 2: "ready", 3: "unavailable"}
"""`tools.v1.ServerState` in words."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """One unit: its condition, and the process behind it where the mesh is of this machine."""

    name: str
    state: str
    detail: str
    address: str
    pid: int | None = None
    uptime_seconds: float | None = None
    restarts: int | None = None
    metrics: str | None = None
    log: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServer:
    """One source of tools."""

    name: str
    state: str
    tools: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """The whole mesh; what could not be asked is None."""

    units: tuple[UnitStatus, ...]
    models: tuple[str, ...] | None
    tool_servers: tuple[ToolServer, ...] | None
    threads: int | None
    model_details: Mapping[str, Mapping[str, str]] | None = None
    links: tuple[LinkStatus, ...] = ()

    @property
    def serving(self) -> bool:
        """Whether every unit serves."""
        return all(unit.state == Condition.SERVING for unit in self.units)


async def mesh_status(located: Located) -> MeshStatus:
    """Ask every unit; those that do not answer are down, nothing is raised."""
    units = await asyncio.gather(*(_unit_status(unit, located) for unit in UNITS))
    answering = [unit.name for unit in units if unit.state in {Condition.SERVING, Condition.NOT_SERVING}]
    up = {name: located.addresses[name] for name in answering}
    models, servers, threads, links = await asyncio.gather(
        _known(_models, "inference", up),
        _known(tool_servers, "tools", up),
        _known(_count_threads, "context", up),
        link_statuses([up[unit.name] for unit in UNITS if unit.probe is Probe.GRPC and unit.name in up]),
    )
    return MeshStatus(
        units=tuple(units),
        models=None if models is None else tuple(models),
        tool_servers=servers,
        threads=threads,
        model_details=models,
        links=links,
    )


async def tool_servers(target: str) -> tuple[ToolServer, ...]:
    """Give the tool servers of the tools service."""
    async with reached(target, peer="tools") as channel:
        catalogue = await list_tools(channel)
    return tuple(
        ToolServer(
            name=server.name,
            state=SERVER_STATES.get(server.state, "unknown"),
            tools=server.tool_count,
            detail=server.failure.message,
        )
        for server in catalogue.servers
    )


def show(status: MeshStatus, located: Located) -> None:
    """Write the status for people."""
    headings = ["unit", "state", "pid", "address", "uptime", "restarts", "detail"]
    print_table(headings, [_row(unit) for unit in status.units])
    lines = ["", f"API       {located.url}/v1"]
    if status.links:
        lines.append(f"links     {shown(status.links)}")
    if status.models is not None:
        lines.append(f"models    {', '.join(status.models) or 'none'}")
    if status.tool_servers is not None:
        servers = (f"{each.name} ({each.state}, {each.tools} tools)" for each in status.tool_servers)
        lines.append(f"tools     {', '.join(servers) or 'no servers'}")
    if status.threads is not None:
        lines.append(f"threads   {status.threads}")
    stdout().print("\n".join(lines), markup=False)


def show_json(status: MeshStatus, located: Located) -> None:
    """Write the status for programs."""
    body: dict[str, Any] = {"serving": status.serving, "url": located.url, **asdict(status)}
    print_json(body)


def duration(seconds: float) -> str:
    """Write a duration as `2d 3h`, `3h 20m`, `20m 5s` or `5s`."""
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{value}{unit}" for value, unit in parts[:2])


async def _unit_status(unit: Unit, located: Located) -> UnitStatus:
    on_file = located.state.unit(unit.name) if located.state else None
    process = on_file.process.id if on_file and on_file.process and on_file.process.id.alive else None
    address: str = located.addresses[unit.name] if unit.name != "facade" else located.url.partition("://")[2]
    absent = Health(condition=Condition.DOWN)
    health = absent if located.absent else await ask(address, unit.probe, running=process is not None)
    return UnitStatus(
        name=unit.name,
        state=str(health.condition),
        detail=health.detail,
        address=str(address),
        pid=process.pid if process else None,
        uptime_seconds=round(process.uptime_seconds, 1) if process else None,
        restarts=on_file.restarts if on_file else None,
        metrics=on_file.metrics_url if on_file else None,
        log=str(on_file.log) if on_file else None,
    )


async def _models(target: str) -> dict[str, dict[str, str]]:
    """Give the models in their order, and how each computes."""
    async with reached(target, peer="inference") as channel:
        return {model.name: dict(model.details) for model in await list_models(channel)}


async def _count_threads(target: str) -> int:
    async with reached(target, peer="context") as channel, aclosing(list_threads(channel)) as threads:
        return sum([1 async for _ in threads])


async def _known(question: Callable[[str], Awaitable[Result]], name: str, up: dict[str, Target]) -> Result | None:
    """Ask a unit that is up; None when it is not, or does not answer."""
    if name not in up:
        return None
    try:
        return await question(up[name])
    except MeshError:
        return None


def _row(unit: UnitStatus) -> list[str]:
    uptime = duration(unit.uptime_seconds) if unit.uptime_seconds is not None else "-"
    restarts = str(unit.restarts) if unit.restarts is not None else "-"
    return [unit.name, unit.state, str(unit.pid or "-"), unit.address, uptime, restarts, unit.detail]
