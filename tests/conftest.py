"""What holds for all tests."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

import threadmesh  # noqa: F401  # before any test imports gRPC
from context_svc.adapters.file_systems import vanishes

# A busy machine is slow, which is no failure. CI tries the same examples each time, so that it never fails by chance;
# everybody else's runs look for new ones.
settings.register_profile("mesh", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mesh")


_EXTRA = {"REAL_SERVERS": "real_servers", "CLIENTS": "clients"}
"""Tests of what make installs for them, by the variables that say where."""
collect_ignore = [folder for variable, folder in _EXTRA.items() if not os.environ.get(variable)]


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Undo what a command that ran within a test did to the logs of all."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.get_config() != before:
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _data_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what units write out of the user's data directory."""
    directory = tmp_path_factory.mktemp("data")
    os.environ.setdefault("THREADMESH_DATA_DIR", str(directory))
    if vanishes(directory):  # the stores of tests need not outlive the machine
        os.environ.setdefault("CONTEXT_ALLOW_UNSAFE_STORE", "true")
