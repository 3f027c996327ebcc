"""Each image holds its own unit, runs without privileges and is built from locked packages only."""

import re

import pytest

from tests.deploy.manifests import ROOT, UNITS

MODULES = {"inference": "inference_svc", "tools": "tools_svc", "context": "context_svc", "facade": "facade"}
OWN_PACKAGES = {
    "inference": {"llama-cpp-python", "jinja2"},
    "tools": {"mcp", "jsonschema-rs", "mcp-server-git", "mcp-server-time"},
    "context": set(),
    "facade": {"fastapi", "orjson", "websockets"},
}


@pytest.fixture(scope="module")
def stages() -> dict[str, str]:
    """The Dockerfile's stages by name, continued lines joined."""
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    parts = re.split(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


@pytest.mark.parametrize("unit", UNITS)
def test_an_image_starts_its_unit_without_privileges(stages: dict[str, str], unit: str) -> None:
    assert f'ENTRYPOINT ["python", "-m", "{MODULES[unit]}"]' in stages[unit]
    assert "USER 10001:10001" in stages[unit]


@pytest.mark.parametrize("unit", UNITS)
def test_an_image_takes_nothing_from_the_build_but_its_own_packages(stages: dict[str, str], unit: str) -> None:
    assert re.findall(r"COPY --from=(.*)", stages[unit]) == [f"{unit}-build /opt/venv /opt/venv"]
    build = stages[f"{unit}-build"]
    assert [other for other in MODULES.values() if f"COPY {other} {other}" in build] == [MODULES[unit]]
    assert re.findall(r"-r requirements/(\w+)\.lock", build) == [unit, *(["model"] if unit == "inference" else [])]


@pytest.mark.parametrize("unit", UNITS)
def test_a_units_lock_has_its_packages_and_not_those_of_the_others(unit: str) -> None:
    locked = packages(unit)
    assert OWN_PACKAGES[unit] <= locked
    for other in set(UNITS) - {unit}:
        assert not (OWN_PACKAGES[other] - OWN_PACKAGES[unit]) & locked


def test_every_package_is_checked_against_its_hash(stages: dict[str, str]) -> None:
    installs = [
        line
        for stage in stages.values()
        for line in stage.splitlines()
        for line in line.split("&&")
        if "-r requirements/" in line
    ]
    assert len(installs) == 1 + len(UNITS)
    assert all("--require-hashes --no-deps" in install for install in installs)


def test_the_engine_is_not_built_for_the_processor_that_builds_it(stages: dict[str, str]) -> None:
    assert "-DGGML_NATIVE=OFF" in stages["inference-build"]


def test_what_is_copied_into_an_image_is_sent_to_its_build(stages: dict[str, str]) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        source
        for stage in stages.values()
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", stage, re.MULTILINE)
        for source in line.split()
    ]
    assert copied
    for source in copied:
        assert {source, source.split("/")[0]} & sent
        assert source.startswith(".build/") or (ROOT / source).exists()


def packages(lock: str) -> set[str]:
    """Name the packages of a lock file."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return set(re.findall(r"^([a-z0-9-]+)==", text, flags=re.MULTILINE))
