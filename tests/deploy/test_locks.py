"""The lock files hold: complete, hashed, silent about where packages come from, above known vulnerabilities."""

import re
from pathlib import Path

import pytest
from packaging.version import Version

from tests.deploy.manifests import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", re.MULTILINE)
FLOORS = {
    "jinja2": "3.1.6",
    "llama-cpp-python": "0.3.36",
    "mcp": "1.28.1",
    "protobuf": "6.33.5",
    "python-multipart": "0.0.27",
    "starlette": "0.49.1",
}
"""The first versions without the vulnerabilities that concern us."""


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_pinned_with_hashes(lock: Path) -> None:
    entries = [entry for entry in re.split(r"\n(?=[a-z0-9])", lock.read_text()) if not entry.startswith("#")]

    assert entries
    assert all(PINNED.match(entry) and "--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_names_an_index(lock: Path) -> None:
    assert not re.search(r"https?://|--index|--extra-index|--find-links|file:", lock.read_text())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_package_is_below_its_floor(lock: Path) -> None:
    pinned = dict(PINNED.findall(lock.read_text()))

    assert {name: version for name, version in pinned.items() if _too_old(name, version)} == {}


def test_every_floor_is_a_package_of_the_mesh() -> None:
    assert set(FLOORS) <= set(dict(PINNED.findall((ROOT / "requirements" / "mesh.lock").read_text())))


def test_the_units_use_the_same_versions() -> None:
    tested = set(PINNED.findall((ROOT / "requirements" / "dev.lock").read_text()))
    for unit in ("inference", "tools", "context", "facade", "mesh"):
        assert set(PINNED.findall((ROOT / "requirements" / f"{unit}.lock").read_text())) <= tested


def _too_old(name: str, version: str) -> bool:
    return name in FLOORS and Version(version) < Version(FLOORS[name])
