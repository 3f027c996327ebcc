"""Runs a scenario with each of the clients that users have against a whole mesh with scripted models.

`make clients` installs them first, into an ignored folder.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.turn.mesh import KEY, running
from threadmesh.telemetry import logs

HERE = Path(__file__).parent
SECONDS = 120.0


async def main(python: str, node_directory: str) -> int:
    """Give how many scenarios failed."""
    logs.configure(unit="mesh", level="error")
    commands = {
        "openai-agents": [python, str(HERE / "agents_scenario.py")],
        "LangChain": [python, str(HERE / "langchain_scenario.py")],
        "openai (Node)": ["node", "openai_scenario.mjs"],
        "Vercel AI SDK": ["node", "ai_scenario.mjs"],
    }
    with tempfile.TemporaryDirectory() as directory:
        async with running(Path(directory)) as mesh:
            environment = {**os.environ, "OPENAI_BASE_URL": f"{mesh.url}/v1", "OPENAI_API_KEY": KEY}
            failed = 0
            for name, command in commands.items():
                cwd = node_directory if command[0] == "node" else None
                process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=cwd)
                status = await asyncio.wait_for(process.wait(), SECONDS)
                print(f"{name}: {'passed' if status == 0 else f'failed with {status}'}")  # noqa: T201
                failed += status != 0
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2])))
