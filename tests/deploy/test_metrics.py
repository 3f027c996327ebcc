"""What Prometheus sees of a mesh: every page is well formed, and counts."""

import os
import shutil
import subprocess

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from context_svc.settings import ContextSettings
from facade.settings import FacadeSettings
from inference_svc.settings import InferenceSettings
from tests.deploy.manifests import ROOT, UNITS
from tests.deploy.mesh import KEY, Mesh
from tools_svc.settings import ToolsSettings

REQUESTS = {
    "inference": "/rpc/v1/inference/models",
    "tools": "/rpc/v1/tools",
    "context": "/rpc/v1/threads",
    "facade": "/v1/models",
}
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
COUNTERS = dict.fromkeys(("inference", "tools", "context"), "grpc_server_handled_total") | {
    "facade": "threadmesh_facade_requests_total"
}
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's own checker; CI must have it."""
    fetched = ROOT / ".build" / "prometheus" / "usr" / "bin" / "promtool"
    tool = str(fetched) if fetched.exists() else shutil.which("promtool")
    if tool is None:
        message = "there is no promtool; run deploy/prometheus/fetch.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return tool


@pytest.mark.mesh
@pytest.mark.parametrize("unit", UNITS)
def test_promtool_accepts_the_metrics_of_a_unit_that_has_served(mesh: Mesh, promtool: str, unit: str) -> None:
    httpx2.get(mesh.url + REQUESTS[unit], headers=AUTHORIZED, timeout=30).raise_for_status()
    page = httpx2.get(mesh.metrics[unit], timeout=30)

    result = subprocess.run(
        [promtool, "check", "metrics"], input=page.text, capture_output=True, text=True, check=False, timeout=60
    )

    assert page.headers["content-type"].startswith("text/plain")
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.mesh
@pytest.mark.parametrize("unit", UNITS)
def test_a_served_request_moves_a_counter(mesh: Mesh, unit: str) -> None:
    before = counted(mesh.metrics[unit], COUNTERS[unit])
    httpx2.get(mesh.url + REQUESTS[unit], headers=AUTHORIZED, timeout=30).raise_for_status()

    assert counted(mesh.metrics[unit], COUNTERS[unit]) > before


def test_prometheus_can_read_its_configuration(promtool: str) -> None:
    subprocess.run([promtool, "check", "config", CONFIG], check=True, capture_output=True, timeout=60)


def test_prometheus_looks_where_the_units_are_by_default() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    ports = {
        "inference": InferenceSettings().metrics_port,
        "tools": ToolsSettings().metrics_port,
        "context": ContextSettings().metrics_port,
        "facade": FacadeSettings().port,
    }

    assert targets == {unit: [f"127.0.0.1:{port}"] for unit, port in ports.items()}


def counted(url: str, name: str) -> float:
    """Sum a counter over all its labels."""
    families = text_string_to_metric_families(httpx2.get(url, timeout=30).text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)
