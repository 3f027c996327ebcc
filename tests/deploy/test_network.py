"""Who may speak to whom in the cluster: the edges of the architecture and no others."""

from collections.abc import Iterator
from typing import Any

from tests.deploy.manifests import NAME, WORKLOADS, Document, Manifests

Label = tuple[str, str] | None

CLIENTS = "namespaces that an operator has let in"
DNS = "the cluster's name server"
EDGES = {
    ("facade", "inference", 50051),
    ("facade", "tools", 50052),
    ("facade", "context", 50053),
    ("envoy", "inference", 50051),
    ("envoy", "tools", 50052),
    ("envoy", "context", 50053),
    ("envoy", "facade", 8080),
    (CLIENTS, "envoy", 8000),
}
LOOK_UPS = {(workload, DNS, 53) for workload in ("facade", "envoy")}
PEERS: dict[tuple[Label, Label], str] = {
    (("threadmesh/client", "true"), None): CLIENTS,
    (("kubernetes.io/metadata.name", "kube-system"), ("k8s-app", "kube-dns")): DNS,
    **{(None, (NAME, workload)): workload for workload in (*WORKLOADS, "workers", "broker")},
}


def test_what_no_policy_allows_is_refused_both_ways(manifests: Manifests) -> None:
    policy = manifests.of_kind("NetworkPolicy")["default-deny"]
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_incoming_traffic_follows_the_edges_of_the_architecture(manifests: Manifests) -> None:
    allowed = {
        (peer, target, port)
        for target, policy in selected(manifests)
        for rule in policy.get("ingress", [])
        for peer, port in ends(rule, "from")
    }
    assert allowed == EDGES


def test_outgoing_traffic_follows_the_same_edges_and_finds_names(manifests: Manifests) -> None:
    allowed = {
        (source, peer, port)
        for source, policy in selected(manifests)
        for rule in policy.get("egress", [])
        for peer, port in ends(rule, "to")
    }
    assert allowed == {edge for edge in EDGES if edge[0] != CLIENTS} | LOOK_UPS


def test_every_edge_ends_at_a_port_that_is_open(manifests: Manifests) -> None:
    for _, target, port in EDGES:
        assert port in {each["containerPort"] for each in manifests.container(target)["ports"]}


def selected(manifests: Manifests) -> Iterator[tuple[str, Document]]:
    """Give each policy that allows something, with the workload that it is about."""
    for name, policy in manifests.of_kind("NetworkPolicy").items():
        if name != "default-deny":
            yield policy["spec"]["podSelector"]["matchLabels"][NAME], policy["spec"]


def ends(rule: Document, direction: str) -> Iterator[tuple[str, int]]:
    """Give the peers and ports of one rule; a rule without either would allow them all and is refused."""
    for peer in rule[direction]:
        for port in rule["ports"]:
            assert port["protocol"] in {"TCP", "UDP"}
            yield PEERS[label(peer.get("namespaceSelector")), label(peer.get("podSelector"))], port["port"]


def label(selector: dict[str, Any] | None) -> Label:
    """Give the only label of a selector."""
    if selector is None:
        return None
    ((key, value),) = selector["matchLabels"].items()
    return key, value
