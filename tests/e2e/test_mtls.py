"""`threadmesh up --mtls`: one command runs a mesh whose units know each other by certificates."""

import subprocess
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.mesh import BIN, KEY, SECONDS, Mesh, configured

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh of its own, without a model to load."""
    mesh = configured(tmp_path_factory.mktemp("mtls"))
    script = mesh.directory / "script.json"
    script.write_text("{}")
    config = mesh.directory / "threadmesh.toml"
    config.write_text(config.read_text().replace("[inference]\n", '[inference]\nmodel = "none"\n'))
    mesh.cli("up", "--detach", "--mtls", "--config", str(config), "--scripted", str(script))
    try:
        yield mesh
    finally:
        mesh.cli("down")


def answer(mesh: Mesh) -> str | None:
    with mesh.openai() as client:
        question = client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "hello"}], metadata={"thread_key": "mtls"}
        )
    return question.choices[0].message.content


def health_in_plaintext(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)


def test_a_mesh_with_mtls_answers_shows_how_its_links_are_and_lets_nobody_else_in(mesh: Mesh) -> None:
    assert answer(mesh) == "You said: hello"
    assert "time__get_current_time" in mesh.cli("tools", "list")
    assert "links     mTLS (context until " in mesh.cli("status")
    assert mesh.cli("doctor", "--config", str(mesh.directory / "threadmesh.toml")).count("mTLS, until ") == 4
    for unit in ("inference", "tools", "context"):
        with pytest.raises(grpc.RpcError):
            health_in_plaintext(mesh.ports[unit])


def test_certificates_are_replaced_without_a_restart(mesh: Mesh) -> None:
    before = {unit["name"]: unit["pid"] for unit in mesh.status()["units"]}
    mesh.cli("certs", "create", "--force", "--days", "100")

    assert answer(mesh) == "You said: hello"
    assert mesh.cli("threads", "list").count("mtls") == 1
    assert {unit["name"]: unit["pid"] for unit in mesh.status()["units"]} == before
    assert any(line["event"] == "link.files_replaced" for line in mesh.log("facade"))


def test_grpcurl_comes_in_with_the_operators_certificate(mesh: Mesh) -> None:
    directory = mesh.directory / "certificates"
    files = [f"-cacert={directory / 'ca.pem'}", f"-cert={directory / 'cli.pem'}", f"-key={directory / 'cli.key'}"]
    command = [str(BIN / "grpcurl"), *files, "-authority", "tools", f"127.0.0.1:{mesh.ports['tools']}", "list"]

    listed = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout

    assert "threadmesh.api.tools.v1.ToolsService" in listed
    assert KEY not in listed
