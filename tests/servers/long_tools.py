"""Long tools for tests: each leaves a line in a file when it takes effect, and ends when another file is there."""

import asyncio
from pathlib import Path

from threadmesh.tools import Progress, tool


@tool
async def unsafe(directory: str, progress: Progress) -> str:
    """Do it; once more is once too often."""
    return await _work(Path(directory), progress)


@tool(effect="idempotent")
async def repeatable(directory: str, progress: Progress) -> str:
    """Do it, or do it again."""
    return await _work(Path(directory), progress)


async def _work(directory: Path, progress: Progress) -> str:
    with (directory / "ledger").open("a") as ledger:
        ledger.write("done\n")
    progress(1, 2, "half")
    while not (directory / "gate").exists():  # the test opens it
        await asyncio.sleep(0.02)
    return "finished"
