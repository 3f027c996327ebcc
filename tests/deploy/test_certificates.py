"""cert-manager makes what the pods mount, and the same as `threadmesh certs`."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.deploy.manifests import WORKLOADS, Document, load
from threadmesh.cli.certs import ALL
from threadmesh.links.authority import issue, new_authority
from threadmesh.links.matrix import MATRIX

PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH: "server auth", ExtendedKeyUsageOID.CLIENT_AUTH: "client auth"}


@pytest.fixture(scope="module")
def certificates() -> dict[str, Document]:
    """The certificates that cert-manager makes, by name."""
    return load("deploy/k8s/cert-manager").of_kind("Certificate")


def test_every_workload_and_the_operators_have_a_certificate(certificates: dict[str, Document]) -> None:
    assert set(certificates) == {"link-authority", *(f"link-{each}" for each in (*WORKLOADS, "cli"))}
    assert set(ALL) == {*WORKLOADS, "cli"}
    assert set(ALL) <= set(MATRIX)


@pytest.mark.parametrize("member", ALL)
def test_cert_manager_makes_what_threadmesh_certs_makes(certificates: dict[str, Document], member: str) -> None:
    wanted = certificates[f"link-{member}"]["spec"]
    now = datetime.now(UTC)
    made = issue(new_authority(now), member, now).certificate.extensions
    names = made.get_extension_for_class(x509.SubjectAlternativeName).value
    (purpose,) = made.get_extension_for_class(x509.ExtendedKeyUsage).value

    assert wanted["secretName"] == f"link-{member}"
    assert wanted["uris"] == names.get_values_for_type(x509.UniformResourceIdentifier)
    assert wanted.get("dnsNames", []) == names.get_values_for_type(x509.DNSName)
    assert wanted["usages"] == ["digital signature", PURPOSES[purpose]]


def test_the_facade_calls_units_by_names_of_their_certificates(certificates: dict[str, Document]) -> None:
    variables = {each["name"]: each.get("value") for each in load("deploy/k8s").container("facade")["env"]}
    for unit in ("inference", "tools", "context"):
        host = variables[f"FACADE_{unit.upper()}_TARGET"].rpartition(":")[0]
        assert host in certificates[f"link-{unit}"]["spec"]["dnsNames"]
