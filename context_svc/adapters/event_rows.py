"""Rows of the SQL stores' logs to and from the domain's values: one write each, or many in a snapshot."""

from collections.abc import Iterable, Iterator, Sequence

from context_svc.adapters.rows import Columns, Row, date, microseconds
from context_svc.adapters.snapshots import pack, unpack
from context_svc.domain.run import Batch

BATCH, SNAPSHOT = 1, 2
"""Formats of a row, its `schema_v`."""
_LENGTH_BYTES = 4


def batch_row(batch: Batch) -> Row:
    """Give the events of one write as a row of `events`."""
    return {
        "run_id": batch.run_id,
        "first_seq": batch.first_sequence,
        "last_seq": batch.first_sequence + len(batch.bodies) - 1,
        "epoch": batch.epoch,
        "create_time": microseconds(batch.create_time),
        "batch": b"".join(len(body).to_bytes(_LENGTH_BYTES, "big") + body for body in batch.bodies),
        "schema_v": BATCH,
    }


def snapshot_row(batches: Sequence[Batch]) -> Row:
    """Give the events of many consecutive writes of a run as one row of `events`."""
    last = batch_row(batches[-1])
    return {**last, "first_seq": batches[0].first_sequence, "batch": pack(batches), "schema_v": SNAPSHOT}


def batches_of(row: Columns) -> Iterable[Batch]:
    """Read a row of `events`: one write, or many in a snapshot."""
    if row["schema_v"] == SNAPSHOT:
        return unpack(row["batch"], run_id=row["run_id"], first_sequence=row["first_seq"])
    batch = Batch(
        run_id=row["run_id"],
        epoch=row["epoch"],
        first_sequence=row["first_seq"],
        create_time=date(row["create_time"]),
        bodies=tuple(_bodies(row["batch"])),
    )
    return (batch,)


def _bodies(batch: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(batch):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(batch[at:start], "big")
        yield batch[start:at]
