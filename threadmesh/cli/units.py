"""The units of the mesh as the command line knows them: how they are started, named and reached."""

from dataclasses import dataclass
from enum import StrEnum


class Probe(StrEnum):
    """How a unit is asked whether it serves: `grpc.health.v1` or `GET /readyz`."""

    GRPC = "grpc"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit: the module that `python -m` runs, the prefix of its settings, its default ports.

    A unit without a `metrics_port` shows its metrics on its own port.
    """

    name: str
    module: str
    prefix: str
    port: int
    metrics_port: int | None
    probe: Probe = Probe.GRPC


CONTEXT = Unit(name="context", module="context_svc", prefix="CONTEXT_", port=50053, metrics_port=9103)
TOOLS = Unit(name="tools", module="tools_svc", prefix="TOOLS_", port=50052, metrics_port=9102)
INFERENCE = Unit(name="inference", module="inference_svc", prefix="INFERENCE_", port=50051, metrics_port=9101)
FACADE = Unit(name="facade", module="facade", prefix="FACADE_", port=8080, metrics_port=None, probe=Probe.HTTP)

UNITS = (CONTEXT, TOOLS, INFERENCE, FACADE)
"""In the order in which they are started; they are stopped in the reverse order."""

NO_MODEL = "none"
"""Value of INFERENCE_MODEL that serves only the scripted backend."""
