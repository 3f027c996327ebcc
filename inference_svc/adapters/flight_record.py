"""Which requests are being answered, in a file that outlives the process.

The file is mapped into memory: an entry costs a copy of some bytes and is there after the process has been killed,
though not after a power cut. What Python's fault handler writes when the process crashes tells a fault from a kill.
"""

import faulthandler
import fcntl
import mmap
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from inference_svc.domain.quarantine import Fingerprint

_SLOTS = 1_024
_SLOT_BYTES = 32
_RECORDS = 16
"""Processes that can share a directory."""


class FlightRecord:
    """One process's record, taken over from a process that has died.

    `left` are the requests that were being answered by it, and `fault` what its fault handler wrote, empty unless it
    crashed. `number` tells the record from those of other processes in the directory.
    """

    def __init__(self, directory: Path) -> None:
        """Take the first record that no living process holds. Raises `OSError`."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file, self.number = _take(directory)
        self._file.truncate(_SLOTS * _SLOT_BYTES)
        self._map = mmap.mmap(self._file.fileno(), _SLOTS * _SLOT_BYTES)
        self.left: Sequence[Fingerprint] = tuple(entry for slot in range(_SLOTS) if (entry := self._read(slot)))
        self._free = list(reversed(range(_SLOTS)))
        self._faults = (directory / f"fault.{self.number}").open("a+", errors="replace")
        self._faults.seek(0)
        self.fault = self._faults.read()
        self._handled = faulthandler.is_enabled()

    def begin(self) -> None:
        """Forget what was left, which has been remembered elsewhere by now, and begin to record."""
        self._map[:] = bytes(len(self._map))
        self._faults.truncate(0)
        faulthandler.enable(self._faults)

    def enter(self, fingerprint: Fingerprint) -> int | None:
        """Write that a request is being answered; gives its place, None if there is none left."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._map[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] = fingerprint.encode()
        return slot

    def leave(self, slot: int | None) -> None:
        """Write that it is not any more."""
        if slot is not None and not self._file.closed:
            self._map[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] = bytes(_SLOT_BYTES)
            self._free.append(slot)

    def close(self) -> None:
        """Leave nothing behind."""
        self._map[:] = bytes(len(self._map))
        self._map.close()
        self._file.close()
        faulthandler.disable()
        if self._handled and sys.__stderr__:
            faulthandler.enable(sys.__stderr__)
        self._faults.close()

    def _read(self, slot: int) -> Fingerprint:
        return self._map[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES].rstrip(b"\0").decode(errors="replace")


def _take(directory: Path) -> tuple[IO[bytes], int]:
    for number in range(_RECORDS):
        file = (directory / f"in-flight.{number}").open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return file, number
    raise OSError(f"{directory} is used by {_RECORDS} processes already")
