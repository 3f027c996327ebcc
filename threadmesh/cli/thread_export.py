"""`threadmesh threads export`: conversations as JSON lines."""

import os
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TextIO

from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.cli.calls import find_thread, list_items, list_threads, reached
from threadmesh.cli.output import stderr
from threadmesh.cli.progress import Bar, progress
from threadmesh.cli.thread_file import Count, header, line_of
from threadmesh.errors import MeshError, ThreadNotFound
from threadmesh.rpc.channel import MeshChannel, translated


async def export_threads(target: str, *, name: str, prefix: str, output: Path | None) -> None:
    """Write the thread with this id or key, or all whose key begins with `prefix`, to a file or to stdout.

    A file appears whole or not at all. Raises a `MeshError` when it cannot be written.
    """
    with _written(output) as file, progress("threads") as bar:
        async with reached(target, peer="context") as channel:
            count = await _export(channel, file, bar, name=name, prefix=prefix)
    if output:
        stderr().print(f"Exported {count.threads} threads with {count.items} items to {output}.", markup=False)


async def _export(channel: MeshChannel, file: TextIO, bar: Bar, *, name: str, prefix: str) -> Count:
    file.write(header())
    count = Count()
    async with aclosing(_chosen(channel, bar, name=name, prefix=prefix)) as threads:
        async for thread in threads:
            items = await _items(channel, thread, file)
            if items is not None:
                count = Count(threads=count.threads + 1, items=count.items + items)
            bar.advance(1)
    file.write(line_of(count))
    return count


async def _chosen(channel: MeshChannel, bar: Bar, *, name: str, prefix: str) -> AsyncGenerator[pb.Thread, None]:
    """Yield each thread once. One that is used meanwhile moves to the front of the list, so that is read again."""
    if name:
        thread = await find_thread(channel, name)
        if not thread.key:
            raise ThreadNotFound("This thread serves a single request and has no key; there is nothing to keep.")
        yield thread
        return
    seen: set[str] = set()
    while True:
        async with aclosing(list_threads(channel, prefix=prefix)) as found:
            fresh = [thread async for thread in found if thread.id not in seen]
        if not fresh:
            return
        seen.update(thread.id for thread in fresh)
        bar.expect(len(seen))
        for thread in fresh:
            yield thread


async def _items(channel: MeshChannel, thread: pb.Thread, file: TextIO) -> int | None:
    """Write a thread with its items; None when somebody has deleted it."""
    begun = 0
    try:
        async with translated("context"), aclosing(list_items(channel, thread.id)) as items:
            async for item in items:
                if not begun:
                    file.write(line_of(thread))
                item.ClearField("thread_id")
                file.write(line_of(item))
                begun += 1
    except ThreadNotFound:
        return begun or None
    if not begun:
        file.write(line_of(thread))
    return begun


@contextmanager
def _written(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    part = output.with_name(output.name + ".part")
    try:
        part.touch(mode=0o600)  # what was said is nobody else's business
        with part.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as error:
        raise MeshError(f"{output} cannot be written ({error.strerror or error}); name another file.") from error
    finally:
        part.unlink(missing_ok=True)
