"""A mesh that runs in a thread of its own, for tests that are not coroutines."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager

from tests.turn.mesh import Mesh


@contextmanager
def in_background(running: Callable[[], AbstractAsyncContextManager[Mesh]]) -> Iterator[str]:
    """Run a mesh until the block ends; gives its HTTP address."""
    started: Future[str] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        try:
            async with running() as mesh:
                started.set_result(mesh.url)
                await stop.wait()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        yield started.result(timeout=60)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
