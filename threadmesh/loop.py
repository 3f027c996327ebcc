"""The event loop of every process of the mesh: libuv's, which does the same for less of a core than Python's own."""

import asyncio
import gc
import resource
from collections.abc import Coroutine
from typing import Any

import uvloop


def run_process(main: Coroutine[Any, Any, None]) -> None:
    """Run a process's main coroutine to its end, as `asyncio.run` does.

    If it crashes it leaves no image of its memory, which holds keys and conversations; nor do its children.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def spare_collections() -> None:
    """Let the garbage collector pass over everything that is there now, which a unit keeps until its end.

    Otherwise each full collection walks through all modules, for some ten milliseconds in the middle of an answer.
    """
    gc.collect()
    gc.freeze()
