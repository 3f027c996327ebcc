"""The component of workers: valid, closed as the rest is, and told what tools_svc is told."""

import kubernetes_validate  # type: ignore[import-untyped]  # carries no types
import pytest

from tests.deploy import test_manifests as of_all
from tests.deploy.manifests import NAME, WORKLOADS, Document, Manifests, load
from tests.deploy.test_network import CLIENTS, DNS, EDGES, LOOK_UPS, ends, selected
from tools_svc.settings import Runner, ToolsSettings

ADDED = {"workers", "broker"}
BROKER_EDGES = {("tools", "broker", 6379), ("workers", "broker", 6379)}
SECRET = {"name": "TOOLS_TASK_STORE", "valueFrom": {"secretKeyRef": {"name": "task-store", "key": "address"}}}


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    """The mesh with workers."""
    return load("deploy/k8s/overlays/workers")


def variables(container: Document) -> dict[str, str]:
    """Give a container's variables; the Secret is what an operator would write into it."""
    given = {each["name"]: each.get("value", "postgresql://me@db/tasks") for each in container["env"]}
    return {name: str(value) for name, value in given.items()}


def test_every_document_is_valid_and_nothing_of_the_base_is_lost(manifests: Manifests) -> None:
    for document in manifests.documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert set(manifests.workloads()) == {*WORKLOADS, *ADDED}
    assert {each["metadata"]["name"] for each in manifests.documents if "namespace" not in each["metadata"]} == {
        "threadmesh"
    }


@pytest.mark.parametrize(
    "promise",
    [
        of_all.test_a_workload_selects_its_own_pods,
        of_all.test_ports_are_named_once_and_exist,
        of_all.test_images_are_pinned_to_a_version,
        of_all.test_no_pod_is_root_or_knows_the_api_server,
        of_all.test_no_container_can_gain_privileges_or_write_to_its_image,
        of_all.test_kubernetes_does_not_set_variables_with_our_prefixes,
        of_all.test_every_container_asks_for_what_it_may_use,
        of_all.test_what_is_mounted_is_a_volume_and_every_volume_is_mounted,
        of_all.test_no_secret_is_committed,
    ],
)
def test_what_holds_for_every_pod_holds_for_these(promise: object, manifests: Manifests) -> None:
    assert callable(promise)
    promise(manifests)
    assert set(manifests.pods()) >= ADDED


@pytest.mark.parametrize("workload", ["tools", "workers"])
def test_workers_and_tools_svc_share_broker_and_store(
    manifests: Manifests, workload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = manifests.container(workload)
    for name, value in variables(container).items():
        monkeypatch.setenv(name, value)
    settings = ToolsSettings.load(variables(container))

    assert SECRET in container["env"]
    assert settings.task_runner is Runner.CELERY
    assert (settings.task_broker, settings.task_store) == ("redis://broker:6379/0", "postgresql://me@db/tasks")
    assert settings.listen == "0.0.0.0"


def test_a_worker_runs_the_image_of_tools_svc_and_is_probed_where_it_serves(manifests: Manifests) -> None:
    tools, worker = manifests.container("tools"), manifests.container("workers")

    assert (worker["image"], worker["command"]) == (tools["image"], ["python", "-m", "tools_svc.worker"])
    (port,) = worker["ports"]
    assert port["containerPort"] == ToolsSettings().worker_metrics_port
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert worker[probe]["httpGet"] == {"path": "/metrics", "port": port["name"]}


def test_a_worker_has_time_to_give_its_tasks_back(manifests: Manifests) -> None:
    seconds = manifests.pods()["workers"]["terminationGracePeriodSeconds"]

    assert seconds >= of_all.drain_seconds(manifests.container("workers")) + 15


def test_the_broker_refuses_rather_than_forgets(manifests: Manifests) -> None:
    arguments = manifests.container("broker")["args"]
    broker = manifests.of_kind("Deployment")["broker"]["spec"]

    assert arguments[arguments.index("--maxmemory-policy") + 1] == "noeviction"
    assert (broker["replicas"], broker["strategy"]) == (1, {"type": "Recreate"})


def test_only_tools_svc_and_the_workers_reach_the_broker(manifests: Manifests) -> None:
    of_broker = {
        (peer, target, port)
        for target, policy in selected(manifests)
        for rule in policy.get("ingress", [])
        for peer, port in ends(rule, "from")
    }
    outgoing = {
        (source, peer, port)
        for source, policy in selected(manifests)
        for rule in policy.get("egress", [])
        for peer, port in ends(rule, "to")
    }

    assert of_broker == EDGES | BROKER_EDGES
    wanted = {edge for edge in EDGES if edge[0] != CLIENTS} | LOOK_UPS | BROKER_EDGES
    assert outgoing == wanted | {(name, DNS, 53) for name in ("tools", "workers")}


def test_each_loses_one_pod_at_a_time_to_maintenance(manifests: Manifests) -> None:
    budgets = manifests.of_kind("PodDisruptionBudget")

    assert set(budgets) == {*WORKLOADS, *ADDED}
    for name in ADDED:
        assert budgets[name]["spec"]["selector"] == {"matchLabels": {NAME: name}}
