"""One mesh for each module of tests: starting it takes a second."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.turn.mesh import Mesh, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: object) -> AsyncIterator[Mesh]:
    directory: Path = tmp_path_factory.mktemp("mesh")  # type: ignore[attr-defined]
    async with running(directory, tool_rounds=3, answer_tokens=60, keepalive_seconds=0.5) as mesh:
        yield mesh
