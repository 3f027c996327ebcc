"""`threadmesh threads import`: conversations out of JSON lines. A repetition changes nothing, so any import can be
done again, also one that stopped in the middle.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.cli.calls import reached
from threadmesh.cli.output import one_line, printable, stderr, stdout
from threadmesh.cli.progress import Bar, progress
from threadmesh.cli.thread_file import BadLine, Count, Entry, read_entries
from threadmesh.errors import InvalidArgument, MeshError, ThreadBusy, ThreadDiffers
from threadmesh.rpc.channel import MeshChannel, translated

_SECONDS = 60.0
_BYTES = 1 << 20
_ITEMS = 256


async def import_threads(target: str, file: Path | None) -> None:
    """Add the threads of a file, or of stdin, to those of the mesh, and write what was added.

    A thread that is busy, or has other items in the place of the file's, is left alone and the others go on. Raises
    `BadLine` once what stands before that line is added, and a `MeshError` at the end when threads were left alone.
    """
    with _opened(file) as lines, progress("items") as bar:
        async with reached(target, peer="context") as channel:
            importer = _Importer(channel, bar)
            try:
                for entry in read_entries(lines):
                    await importer.take(entry)
            except BadLine:
                await importer.end()
                raise
    done = importer.done
    stdout().print(f"Imported {done.threads} threads: {done.items} items added, {importer.known} were there already.")
    if importer.left:
        raise MeshError(f"{importer.left} threads were left as they are; see above.")


class _Importer:
    """Sends a thread's items in pieces, each as soon as it is full."""

    def __init__(self, channel: MeshChannel, bar: Bar) -> None:
        self._stub = ThreadsServiceStub(channel)
        self._bar = bar
        self._read = Count()
        self._thread: pb.Thread | None = None
        self._piece: list[pb.ImportedItem] = []
        self._size = 0
        self._line = 0
        self._last = -1
        self._skipping = False
        self.done = Count()
        self.known = 0
        self.left = 0

    async def take(self, entry: Entry) -> None:
        """Take the next entry; raises `BadLine` when it does not belong there."""
        match entry.content:
            case pb.Thread() as thread:
                await self._begin(thread, entry.line)
            case pb.Item() as item:
                await self._add(item, entry.line)
            case end:
                await self.end()
                if end != self._read:
                    raise BadLine(entry.line, f"the file should hold {end.threads} threads and {end.items} items")

    async def _begin(self, thread: pb.Thread, line: int) -> None:
        if not thread.key:
            raise BadLine(line, "the thread has no key")
        await self.end()
        self._last = -1
        self._thread, self._line, self._skipping = thread, line, False
        self._read = Count(threads=self._read.threads + 1, items=self._read.items)

    async def _add(self, item: pb.Item, line: int) -> None:
        if self._thread is None:
            raise BadLine(line, "there is an item before the first thread")
        self._read = Count(threads=self._read.threads, items=self._read.items + 1)
        if not item.HasField("message"):
            raise BadLine(line, "the item has no message")
        if item.sequence <= self._last:
            raise BadLine(line, f"item {item.sequence} stands behind item {self._last}")
        self._last = item.sequence
        size = item.ByteSize()
        if self._piece and (self._size + size > _BYTES or len(self._piece) == _ITEMS):
            await self._send()
        if not self._piece:
            self._line = line
        self._piece.append(_imported(item))
        self._size += size

    async def end(self) -> None:
        """Send what is left of a thread."""
        if self._thread is None:
            return
        await self._send()
        if not self._skipping:
            self.done = Count(threads=self.done.threads + 1, items=self.done.items)
        self._thread = None

    async def _send(self) -> None:
        piece, self._piece, self._size = self._piece, [], 0
        self._bar.advance(len(piece))
        if self._skipping or self._thread is None:
            return
        try:
            async with translated("context"):
                response = await self._stub.ImportThread(_request(self._thread, piece), timeout=_SECONDS)
        except (ThreadDiffers, ThreadBusy) as error:
            self._leave(error)
        except InvalidArgument as error:
            raise BadLine(self._line, f"{error.message} ({error.facts.get('field', '')})") from error
        else:
            self.done = Count(threads=self.done.threads, items=self.done.items + response.added)
            self.known += len(piece) - response.added

    def _leave(self, error: MeshError) -> None:
        assert self._thread is not None
        self.left += 1
        self._skipping = True
        where = f"line {self._line}: thread {self._thread.key}"
        number = f" (item {error.facts['sequence']})" if "sequence" in error.facts else ""
        stderr().print(printable(one_line(f"{where}: {error.message}{number}")), markup=False)


def _request(thread: pb.Thread, items: list[pb.ImportedItem]) -> pb.ImportThreadRequest:
    return pb.ImportThreadRequest(
        key=thread.key,
        metadata=thread.metadata,
        create_time=thread.create_time,
        update_time=thread.update_time,
        items=items,
    )


def _imported(item: pb.Item) -> pb.ImportedItem:
    new = pb.NewItem(
        message=item.message,
        kind=item.kind,
        tokens=item.tokens,
        status=item.status,
        pinned=item.pinned,
        covers=item.covers if item.HasField("covers") else None,
        approval=item.approval if item.HasField("approval") else None,
    )
    return pb.ImportedItem(sequence=item.sequence, create_time=item.create_time, item=new)


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdin.buffer
        return
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise MeshError(f"{path} cannot be read ({error.strerror or error}).") from error
