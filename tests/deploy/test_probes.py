"""What the kubelet asks of a pod is what the process in it answers."""

import httpx2
import pytest

from tests.deploy.manifests import WORKLOADS, Document, load
from tests.deploy.mesh import Mesh

pytestmark = pytest.mark.mesh

KINDS = ("startupProbe", "readinessProbe", "livenessProbe")
PROBES = [pytest.param(workload, probe, id=f"{workload}-{probe}") for workload in WORKLOADS for probe in KINDS]


@pytest.fixture(scope="module")
def containers() -> dict[str, Document]:
    """The container of each workload as deployed."""
    manifests = load("deploy/k8s")
    return {workload: manifests.container(workload) for workload in WORKLOADS}


@pytest.mark.parametrize(("workload", "name"), PROBES)
def test_a_probe_succeeds_while_the_mesh_is_well(
    mesh: Mesh, containers: dict[str, Document], workload: str, name: str
) -> None:
    probe = containers[workload][name]["httpGet"]
    pages = {**mesh.metrics, "envoy": f"http://127.0.0.1:{mesh.operations}/metrics"}

    answer = httpx2.get(pages[workload].replace("/metrics", probe["path"]), timeout=30)

    assert answer.status_code == 200


@pytest.mark.parametrize("workload", [each for each in WORKLOADS if each not in {"facade", "envoy"}])
def test_what_the_kubelet_asks_is_the_port_that_shows_the_metrics(
    containers: dict[str, Document], workload: str
) -> None:
    """It has no certificate with which it could ask over gRPC."""
    assert all(containers[workload][probe]["httpGet"]["port"] == "metrics" for probe in KINDS)
