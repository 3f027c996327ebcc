"""Writes down when keys were last used, now and then."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import structlog

from threadmesh.keys.uses import note_uses

log = structlog.get_logger()

_EVERY_SECONDS = 60.0


class NotedUses:
    """Remembers uses of the keys of a file and writes them beside it: once a minute at most, and when it is closed.

    Where nothing can be written, as beside a mounted Secret, that is logged once; the metric tells all the same.
    """

    def __init__(self, keys_file: Path) -> None:
        self._keys_file = keys_file
        self._unwritten: dict[str, datetime] = {}
        self._told = False

    def note(self, key_id: str, moment: datetime) -> None:
        """Remember that a key was used; costs nothing that a request would feel."""
        self._unwritten[key_id] = moment

    async def keep(self, *, every: float = _EVERY_SECONDS) -> NoReturn:
        """Write for ever what there is to write."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.write)

    def write(self) -> None:
        """Write down what was not written yet."""
        uses, self._unwritten = self._unwritten, {}
        try:
            if uses:
                note_uses(self._keys_file, uses)
        except OSError as error:
            self._unwritten = uses | self._unwritten
            if not self._told:
                log.info("key_uses.not_written", path=str(self._keys_file), reason=error.strerror)
            self._told = True
