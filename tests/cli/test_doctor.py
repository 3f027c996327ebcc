import json
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from threadmesh.cli.checks import Level
from threadmesh.cli.doctor import check_mesh, check_ports
from threadmesh.cli.locate import locate
from threadmesh.cli.plan import make_plan
from threadmesh.cli.status import MeshStatus, ToolServer, UnitStatus


def levels(out: str) -> dict[str, str]:
    return {finding["check"]: finding["level"] for finding in json.loads(out)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF and weights")
    return path


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFERENCE_", "TOOLS_", "CONTEXT_"):
        monkeypatch.setenv(f"{name}PORT", "0")
        monkeypatch.setenv(f"{name}METRICS_PORT", "0")
    monkeypatch.setenv("FACADE_PORT", "0")


def test_a_sound_machine_has_nothing_to_mend(threadmesh: CommandLine, model: Path) -> None:
    ran = threadmesh("doctor", "--json", "--model", str(model))

    found = levels(ran.out)
    assert "broken" not in found.values()
    assert {"python", "packages of tools", "model", "data directory", "cores", "memory", "ports"} <= set(found)
    assert ran.status == 0


def test_what_must_be_mended_ends_with_1_and_says_how(threadmesh: CommandLine, tmp_path: Path) -> None:
    ran = threadmesh("doctor", "--model", str(tmp_path / "absent.gguf"))

    assert ran.status == 1
    assert "✗ model: " in ran.out
    assert "  → give another file by --model PATH or INFERENCE_MODEL" in ran.out


def test_a_wrong_configuration_is_a_finding(threadmesh: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "threadmesh.toml"
    config.write_text("[mesh]\ncolour = 1\n")

    ran = threadmesh("doctor", "--json", "--config", str(config))

    assert ran.status == 1
    assert levels(ran.out)["configuration"] == "broken"


def test_a_port_of_another_process_is_broken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        environment = {
            f"{unit}_{name}": "0" for unit in ("INFERENCE", "TOOLS", "CONTEXT") for name in ("PORT", "METRICS_PORT")
        }
        plan = make_plan({**environment, "FACADE_PORT": port}, data_directory=tmp_path, stop_seconds=1)

        found = check_ports(plan)

    assert found.level is Level.BROKEN
    assert f"port {port}" in found.message
    assert check_ports(plan).level is Level.OK


def unit(name: str, state: str) -> UnitStatus:
    return UnitStatus(name=name, state=state, detail="", address="127.0.0.1:1")


def test_a_running_mesh_is_checked_unit_by_unit(tmp_path: Path) -> None:
    status = MeshStatus(
        units=(unit("context", "serving"), unit("tools", "not serving")),
        models=None,
        tool_servers=(
            ToolServer(name="time", state="ready", tools=2, detail=""),
            ToolServer(name="git", state="unavailable", tools=0, detail="no such command"),
        ),
        threads=0,
        model_details={"smollm2": {"weights": "bf16"}, "scripted": {}},
    )

    found = {each.check: each for each in check_mesh(status, locate(data_dir=tmp_path))}

    assert found["context"].level is found["tool server time"].level is Level.OK
    assert found["tools"].level is Level.BROKEN
    assert found["tool server git"].level is Level.WARNING
    assert "no such command" in found["tool server git"].message
    assert found["model smollm2"].message == "computes with weights=bf16"
    assert "model scripted" not in found
