"""The keys of a file that may change at any time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import structlog

from threadmesh.keys.file import parse_keys, read_text
from threadmesh.keys.key import Key
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

_EVERY_SECONDS = 1.0


class FollowedKeys:
    """The keys of a file, as they were when it could last be read; None while there has never been such a file.

    Raises `ConfigurationError` for a file that is there and wrong, or that is `required` and not there.
    """

    def __init__(self, path: Path, *, required: bool) -> None:
        self._path = path
        self._seen = ""
        self._problems: Sequence[str] = ()
        self.keys: Mapping[str, Key] | None = None
        if required or path.exists():
            self._seen = read_text(path)
            self.keys = parse_keys(self._seen, path)

    async def follow(self, on_problems: Callable[[Sequence[str]], None], *, every: float = _EVERY_SECONDS) -> NoReturn:
        """Read the file again for ever, each second; a wrong one changes nothing.

        `on_problems` hears once of what is wrong, and once when nothing is any more.
        """
        while True:
            await asyncio.sleep(every)
            problems = self._look()
            if problems != self._problems:
                self._problems = problems
                on_problems(problems)
                if problems:
                    log.error("keys_file.refused", problems=problems)

    def _look(self) -> Sequence[str]:
        """Take over what has changed; gives what is wrong with it.

        The text is compared, not the file's time: two changes can lie within one tick of its clock.
        """
        if self.keys is None and not self._path.exists():
            return ()
        try:
            text = read_text(self._path)
            if self.keys is None or text != self._seen:
                self.keys, self._seen = parse_keys(text, self._path), text
                log.info("keys_file.read", keys=len(self.keys))
        except ConfigurationError as error:
            return tuple(error.message.splitlines())
        return ()
