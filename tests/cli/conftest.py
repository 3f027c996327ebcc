"""A clean environment, a roll for small programs, and the command line as a function."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.cli.roll import Roll, open_roll
from threadmesh.cli.app import main

PREFIXES = ("INFERENCE_", "TOOLS_", "CONTEXT_", "FACADE_", "THREADMESH_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str


CommandLine = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("THREADMESH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def _silent_servers() -> Iterator[None]:
    with capture_logs():  # a test's server shares its process with the command, whose output is looked at
        yield


@pytest.fixture
async def roll(tmp_path: Path) -> AsyncIterator[Roll]:
    async with open_roll(tmp_path) as opened:
        yield opened


@pytest.fixture
def threadmesh(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run `threadmesh` with these words in this process."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["threadmesh", *words])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        captured = capsys.readouterr()
        return Ran(status=status, out=captured.out, err=captured.err)

    return run
