"""Asking a unit whether it serves."""

from dataclasses import dataclass
from enum import StrEnum

import grpc
import httpx2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from threadmesh.cli.calls import opened
from threadmesh.cli.output import one_line
from threadmesh.cli.units import Probe
from threadmesh.ports import is_listened_on
from threadmesh.settings import ConfigurationError

_SECONDS = 3.0


class Condition(StrEnum):
    """How a unit is. STARTING: its process runs and its port is not open yet."""

    SERVING = "serving"
    STARTING = "starting"
    NOT_SERVING = "not serving"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A unit's condition, and why it is so where it says why."""

    condition: Condition
    detail: str = ""

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return self.condition is Condition.SERVING


async def ask(address: str, probe: Probe, *, running: bool = True) -> Health:
    """Give the health of the unit at `address`; `running` says whether its process lives, as far as is known."""
    silent = Health(condition=Condition.STARTING if running else Condition.DOWN)
    if not is_listened_on(int(address.rpartition(":")[2])):
        return silent
    try:
        return await (_ask_http(address) if probe is Probe.HTTP else _ask_grpc(address))
    except (httpx2.HTTPError, grpc.aio.AioRpcError, ConfigurationError) as error:
        return Health(condition=Condition.NOT_SERVING, detail=one_line(f"no answer: {error}", limit=120))


async def _ask_grpc(address: str) -> Health:
    async with opened(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
    serving = response.status == health_pb2.HealthCheckResponse.SERVING
    return Health(condition=Condition.SERVING if serving else Condition.NOT_SERVING)


async def _ask_http(address: str) -> Health:
    async with httpx2.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
        response = await client.get(f"http://{address}/readyz")
    if response.status_code == httpx2.codes.OK:
        return Health(condition=Condition.SERVING)
    return Health(condition=Condition.NOT_SERVING, detail=one_line(_missing(response), limit=120))


def _missing(response: httpx2.Response) -> str:
    """Say what the facade waits for, as its `/readyz` lists it."""
    try:
        units = response.json()["units"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.text
    return "; ".join(f"{unit}: {state}" for unit, state in units if state != "ok")
