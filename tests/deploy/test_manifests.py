"""The manifests are valid, and hold what the API server's schema cannot ask for."""

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # carries no types
import pytest

from tests.deploy.manifests import LINK_FILES, NAME, WORKLOADS, Document, Manifests

QUANTITY = re.compile(r"\d+(\.\d+)?(m|Ki|Mi|Gi)?")
NAME_OF_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
NAME_OF_PORT = re.compile(r"[a-z]([-a-z0-9]{0,13}[a-z0-9])?")
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+")
OUTSIDE = {"Secret": {"facade-keys": {"keys.toml"}, **{f"link-{each}": LINK_FILES for each in WORKLOADS}}}
"""What an operator makes himself."""


def test_every_document_is_valid_for_the_newest_kubernetes(manifests: Manifests) -> None:
    for document in manifests.documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_there_is_one_workload_a_unit_and_one_for_envoy(manifests: Manifests) -> None:
    assert set(manifests.workloads()) == set(WORKLOADS)


def test_names_can_be_dns_labels(manifests: Manifests) -> None:
    for document in manifests.documents:
        assert NAME_OF_OBJECT.fullmatch(document["metadata"]["name"])


def test_everything_lives_in_one_namespace_that_admits_only_restricted_pods(manifests: Manifests) -> None:
    ((name, namespace),) = manifests.of_kind("Namespace").items()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for document in manifests.documents:
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == name


def test_a_workload_selects_its_own_pods(manifests: Manifests) -> None:
    for name, workload in manifests.workloads().items():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert labels[NAME] == name


def test_a_service_reaches_named_ports_of_exactly_one_workload(manifests: Manifests) -> None:
    services = manifests.of_kind("Service")
    assert set(services) == set(WORKLOADS)
    for name, service in services.items():
        assert service["spec"]["selector"] == {NAME: name}
        ports = {port["name"]: port for port in manifests.container(name)["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]]["containerPort"] == port["port"]
            assert port.get("protocol", "TCP") == "TCP"


def test_a_stateful_set_names_a_headless_service(manifests: Manifests) -> None:
    services = manifests.of_kind("Service")
    for workload in manifests.of_kind("StatefulSet").values():
        assert services[workload["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"


def test_ports_are_named_once_and_exist(manifests: Manifests) -> None:
    for container in manifests.containers():
        ports = container.get("ports", [])
        names = [port["name"] for port in ports]
        assert len(names) == len(set(names)) == len({port["containerPort"] for port in ports})
        assert all(NAME_OF_PORT.fullmatch(name) for name in names)
        assert all(0 < port["containerPort"] < 65536 for port in ports)


def test_images_are_pinned_to_a_version(manifests: Manifests) -> None:
    for container in manifests.containers():
        assert PINNED.fullmatch(container["image"])
        assert container.get("imagePullPolicy", "IfNotPresent") == "IfNotPresent"


def test_a_units_pods_run_its_own_image(manifests: Manifests) -> None:
    for name in set(WORKLOADS) - {"envoy"}:
        assert manifests.container(name)["image"].startswith(f"threadmesh/{name}:")


def test_no_pod_is_root_or_knows_the_api_server(manifests: Manifests) -> None:
    for pod in manifests.pods().values():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & pod.keys()


def test_no_container_can_gain_privileges_or_write_to_its_image(manifests: Manifests) -> None:
    for container in manifests.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_kubernetes_does_not_set_variables_with_our_prefixes(manifests: Manifests) -> None:
    """A Service named `tools` would set TOOLS_PORT to an URL, and the unit would not start."""
    assert all(pod["enableServiceLinks"] is False for pod in manifests.pods().values())


def test_every_container_asks_for_what_it_may_use(manifests: Manifests) -> None:
    for container in manifests.containers():
        for resources in (container["resources"]["requests"], container["resources"]["limits"]):
            assert resources.keys() == {"cpu", "memory"}
            assert all(QUANTITY.fullmatch(str(quantity)) for quantity in resources.values())


def test_the_engine_has_whole_cores_of_its_own_and_leaves_one_to_the_server(manifests: Manifests) -> None:
    container = manifests.container("inference")
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert int(environment(container)["INFERENCE_THREADS"]) == int(container["resources"]["limits"]["cpu"]) - 1


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_every_workload_is_probed_in_one_way_at_a_port_it_has(manifests: Manifests, probe: str) -> None:
    for name in WORKLOADS:
        container = manifests.container(name)
        (handler,) = {"grpc", "httpGet", "tcpSocket", "exec"} & container[probe].keys()
        known = {port["name"] for port in container["ports"]} | {port["containerPort"] for port in container["ports"]}
        assert container[probe][handler]["port"] in known
        assert handler == "httpGet"  # the kubelet has no certificate for gRPC


def test_a_pod_is_unrouted_sooner_than_it_is_killed(manifests: Manifests) -> None:
    for name in WORKLOADS:
        readiness, liveness = (manifests.container(name)[f"{kind}Probe"] for kind in ("readiness", "liveness"))
        assert patience(readiness) <= 10
        assert patience(liveness) >= 60


def test_a_pod_has_time_to_drain(manifests: Manifests) -> None:
    for name, pod in manifests.pods().items():
        assert pod["terminationGracePeriodSeconds"] >= drain_seconds(manifests.container(name)) + 15


def test_what_is_mounted_is_a_volume_and_every_volume_is_mounted(manifests: Manifests) -> None:
    for workload in manifests.workloads().values():
        pod = workload["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        containers = [*pod.get("initContainers", []), *pod["containers"]]
        assert {mount["name"] for container in containers for mount in container["volumeMounts"]} == volumes


def test_units_can_write_where_they_need_to(manifests: Manifests) -> None:
    for name in WORKLOADS:
        mounts = manifests.container(name)["volumeMounts"]
        writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
        assert writable == ({"/tmp"} if name == "envoy" else {"/data", "/tmp"})


def test_the_context_store_outlives_its_pod_and_has_one_writer(manifests: Manifests) -> None:
    context = manifests.of_kind("StatefulSet")["context"]["spec"]
    (claim,) = context["volumeClaimTemplates"]
    assert context["replicas"] == 1
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/data"} in manifests.container("context")["volumeMounts"]
    assert environment(manifests.container("context"))["CONTEXT_STORE"].startswith("sqlite:/data/")


def test_every_reference_to_configuration_resolves(manifests: Manifests) -> None:
    for kind, name, key in references(manifests):
        if kind == "Secret":
            assert key in OUTSIDE["Secret"][name]
        else:
            assert name in manifests.of_kind("ConfigMap")


def test_the_facades_keys_are_a_mounted_secret_that_only_their_group_reads(manifests: Manifests) -> None:
    volumes = {volume["name"]: volume for volume in manifests.pods()["facade"]["volumes"]}

    assert volumes["keys"]["secret"] == {"secretName": "facade-keys", "defaultMode": 0o440}
    assert ("Secret", "facade-keys", "keys.toml") in set(references(manifests))


def test_a_workload_has_its_own_certificate_and_no_other(manifests: Manifests) -> None:
    for name, pod in manifests.pods().items():
        secrets = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
        links = [secret for secret in secrets if secret["secretName"].startswith("link-")]
        assert links == [{"secretName": f"link-{name}", "defaultMode": 0o440}]
        mount = {"name": "link", "mountPath": "/etc/threadmesh-link", "readOnly": True}
        assert mount in manifests.container(name)["volumeMounts"]


def test_every_unit_uses_the_certificate_that_is_mounted(manifests: Manifests) -> None:
    for name in set(WORKLOADS) - {"envoy"}:
        prefix, variables = name.upper(), environment(manifests.container(name))
        files = {variables[f"{prefix}_LINK_{each}"] for each in ("CERTIFICATE", "KEY", "CA")}
        assert files == {f"/etc/threadmesh-link/{each}" for each in LINK_FILES}
        assert f"{prefix}_LINK_INSECURE" not in variables


def test_no_secret_is_committed(manifests: Manifests) -> None:
    assert not manifests.of_kind("Secret")


def test_each_workload_loses_one_pod_at_a_time_to_maintenance(manifests: Manifests) -> None:
    budgets = manifests.of_kind("PodDisruptionBudget")
    assert set(budgets) == set(WORKLOADS)
    for name, budget in budgets.items():
        assert budget["spec"]["selector"] == {"matchLabels": {NAME: name}}
        assert budget["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in budget["spec"]


def test_replicas_are_spread_over_hosts_and_zones(manifests: Manifests) -> None:
    for name, pod in manifests.pods().items():
        keys = set()
        for constraint in pod["topologySpreadConstraints"]:
            keys.add(constraint["topologyKey"])
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
            assert constraint["labelSelector"]["matchLabels"][NAME] == name
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_an_update_never_lowers_the_number_of_ready_pods(manifests: Manifests) -> None:
    for deployment in manifests.of_kind("Deployment").values():
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def environment(container: Document) -> dict[str, str]:
    """Give a container's variables that hold plain values."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def patience(probe: Document) -> int:
    """Count the seconds after which a probe that fails has an effect."""
    return int(probe["periodSeconds"]) * int(probe["failureThreshold"])


def drain_seconds(container: Document) -> float:
    """Count the seconds that a container takes to end, its own and those before its signal."""
    own = [float(value) for name, value in environment(container).items() if name.endswith("_DRAIN_SECONDS")]
    command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    before = [float(seconds) for part in command for seconds in re.findall(r"sleep (\d+)", part)]
    assert own or before, "this container does not drain"
    return sum(own + before)


def references(manifests: Manifests) -> Iterator[tuple[str, str, Any]]:
    """Give kind, name and key of everything that a pod takes from a ConfigMap or a Secret."""
    for container in manifests.containers():
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                yield "Secret", source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]
        assert "envFrom" not in container
    for pod in manifests.pods().values():
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"]["name"], None
            if volume["name"] == "link":
                yield from (("Secret", volume["secret"]["secretName"], name) for name in LINK_FILES)
            elif "secret" in volume:
                yield from mounted_files(pod, volume)


def mounted_files(pod: Document, volume: Document) -> Iterator[tuple[str, str, Any]]:
    """Give what variables name of a mounted Secret. It is mounted as a whole: only then do its files follow it."""
    assert "items" not in volume["secret"]
    for container in pod["containers"]:
        for mount in container["volumeMounts"]:
            if mount["name"] == volume["name"]:
                assert mount["readOnly"] is True
                assert "subPath" not in mount
                named = [value for value in environment(container).values() if value.startswith(mount["mountPath"])]
                assert named, "nobody is told of this Secret"
                for value in named:
                    yield "Secret", volume["secret"]["secretName"], value.removeprefix(f"{mount['mountPath']}/")
