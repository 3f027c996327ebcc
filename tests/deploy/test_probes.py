"""What the kubelet asks of a pod is what the process in it answers."""

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.manifests import WORKLOADS, Document, load
from tests.deploy.mesh import Mesh

pytestmark = pytest.mark.mesh

PROBES = [
    pytest.param(workload, probe, id=f"{workload}-{probe}")
    for workload in WORKLOADS
    for probe in ("startupProbe", "readinessProbe", "livenessProbe")
]


@pytest.fixture(scope="module")
def containers() -> dict[str, Document]:
    """The container of each workload as deployed."""
    manifests = load("deploy/k8s")
    return {workload: manifests.container(workload) for workload in WORKLOADS}


@pytest.mark.parametrize(("workload", "name"), PROBES)
async def test_a_probe_succeeds_while_the_mesh_is_well(
    mesh: Mesh, containers: dict[str, Document], workload: str, name: str
) -> None:
    probe = containers[workload][name]
    port = mesh.operations if workload == "envoy" else mesh.units[workload]

    if "grpc" in probe:
        assert await health(port, probe["grpc"].get("service", "")) == "SERVING"
    else:
        assert httpx2.get(f"http://127.0.0.1:{port}{probe['httpGet']['path']}", timeout=30).status_code == 200


async def health(port: int, service: str) -> str:
    """Ask a gRPC server about one of its services, as the kubelet does."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
