"""Many small writes of a log in one compressed piece, and back as they were.

A snapshot is a zlib stream. In it stands, for each write, a head of its time in microseconds, its epoch and the number
of its events, then each event behind its length in four bytes, all big-endian.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from context_svc.domain.run import Batch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD = struct.Struct(">qQI")
_LENGTH = struct.Struct(">I")
_LEVEL = 6


def pack(batches: Sequence[Batch]) -> bytes:
    """Give consecutive writes of one run as a snapshot."""
    return zlib.compress(b"".join(piece for batch in batches for piece in _written(batch)), _LEVEL)


def unpack(snapshot: bytes, *, run_id: str, first_sequence: int) -> Iterator[Batch]:
    """Give the writes of a snapshot whose first event has the number `first_sequence`."""
    content = memoryview(zlib.decompress(snapshot))
    at = 0
    while at < len(content):
        microseconds, epoch, count = _HEAD.unpack_from(content, at)
        bodies, at = _read(content, at + _HEAD.size, count)
        yield Batch(
            run_id=run_id,
            epoch=epoch,
            first_sequence=first_sequence,
            create_time=_EPOCH + timedelta(microseconds=microseconds),
            bodies=bodies,
        )
        first_sequence += count


def _written(batch: Batch) -> Iterator[bytes]:
    microseconds = (batch.create_time - _EPOCH) // timedelta(microseconds=1)
    yield _HEAD.pack(microseconds, batch.epoch, len(batch.bodies))
    for body in batch.bodies:
        yield _LENGTH.pack(len(body))
        yield body


def _read(content: memoryview, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    bodies = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        bodies.append(bytes(content[at : at + length]))
        at += length
    return tuple(bodies), at
