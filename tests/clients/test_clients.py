"""A scenario of each client that users have, in a process of its own, against a whole mesh with scripted models.

`make test` installs the Python clients into an ignored folder and tries them; `make clients` those of Node as well.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.turn.mesh import KEY, Mesh, running

HERE = Path(__file__).parent
HOME = Path(os.environ.get("CLIENTS", "."))
SECONDS = 100.0
PYTHON = {"openai-agents": "agents_scenario.py", "LangChain": "langchain_scenario.py"}
NODE = {"openai": "openai_scenario.mjs", "Vercel AI SDK": "ai_scenario.mjs"}


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with running(tmp_path) as started:
        yield started


@pytest.mark.parametrize("scenario", PYTHON.values(), ids=PYTHON)
async def test_a_python_client_is_served(scenario: str, mesh: Mesh) -> None:
    status, told = await ran(str(HOME / "venv" / "bin" / "python"), str(HERE / scenario), mesh=mesh)
    assert status == 0, told


@pytest.mark.skipif(not (HOME / "node_modules").is_dir(), reason="`make clients` installs Node's clients")
@pytest.mark.parametrize("scenario", NODE.values(), ids=NODE)
async def test_a_client_of_node_is_served(scenario: str, mesh: Mesh) -> None:
    status, told = await ran("node", str(HOME / scenario), mesh=mesh)
    assert status == 0, told


async def ran(*command: str, mesh: Mesh) -> tuple[int | None, str]:
    """Give the status of a scenario's process, and what it has written."""
    environment = {**os.environ, "OPENAI_BASE_URL": f"{mesh.url}/v1", "OPENAI_API_KEY": KEY}
    environment.pop("PYTHONPATH", None)
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(SECONDS):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, told.decode()
