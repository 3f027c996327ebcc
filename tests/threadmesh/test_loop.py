"""What holds for every process of the mesh."""

import subprocess
import sys

SCRIPT = """
import asyncio, resource
from threadmesh.loop import run_process

async def main():
    child = await asyncio.create_subprocess_exec("sh", "-c", "ulimit -c")
    await child.wait()
    print(*resource.getrlimit(resource.RLIMIT_CORE), type(asyncio.get_running_loop()).__module__)

run_process(main())
"""


def test_a_process_and_its_children_leave_no_image_of_their_memory() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["0", "0", "0", "uvloop"]
