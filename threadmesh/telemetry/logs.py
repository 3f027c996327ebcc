"""JSON log lines, one an event, each with the ids of the request it belongs to."""

import json
import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor

IDS = ("request_id", "thread_id", "run_id", "traceparent")
"""The ids that travel with every request and stand in every line it causes."""

bound_ids = bound_contextvars
"""Context manager: put these ids into every line logged inside."""


bind_ids = bind_contextvars
"""Put these ids into every line that the rest of the task logs."""


_SHORTEST = 8
"""Characters below which a secret would be found in everything."""
_secrets: set[str] = set()


def hide(*secrets: str) -> None:
    """Let no line of this process show these, whoever writes it: the line shows `***` in their place."""
    _secrets.update(json.dumps(secret)[1:-1] for secret in secrets if len(secret) >= _SHORTEST)


def _hidden(_: object, __: str, rendered: Any) -> str:
    line = str(rendered)
    for secret in _secrets:
        line = line.replace(secret, "***")
    return line


def configure(*, unit: str, level: str = "info", stream: TextIO | None = None, for_good: bool = False) -> None:
    """Send all logs of this process, also those of libraries, to `stream` (default: stderr) as JSON lines.

    What is said `for_good` cannot be changed: whoever has logged once goes on as it is, which costs each line less.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    processors = _rendering(unit)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=[remove, *processors])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Our own lines, of which each RPC has one, do not take the way through `logging`: it takes twice as long.
    structlog.configure(
        processors=[*_SHARED, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_: _Lines(handler),
        cache_logger_on_first_use=for_good,
    )


_caller = structlog.stdlib.LoggerFactory(ignore_frame_names=[__name__])
"""Gives the logger of `logging` that is named like the module that logs."""


class _Lines:
    """A logger that writes what it is given as a line, where a handler of `logging` writes its own, and like that never
    raises: no request fails because nobody reads its log.
    """

    def __init__(self, handler: "logging.StreamHandler[TextIO]") -> None:
        self.name = _caller().name
        self._handler = handler

    def _write(self, line: str) -> None:
        handler = self._handler
        handler.acquire()
        try:
            handler.stream.write(f"{line}{handler.terminator}")
            handler.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            pass
        finally:
            handler.release()

    debug = info = warning = error = critical = _write


_SHARED: list[Processor] = [
    merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
"""What is done to our lines and to those of libraries alike."""


def _rendering(unit: str) -> list[Processor]:
    def add_unit(_: object, __: str, event: EventDict) -> EventDict:
        event["unit"] = unit
        return event

    return [
        add_unit,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(sort_keys=True),
        _hidden,
    ]


def current_ids() -> dict[str, str]:
    """Give the ids bound to the running task."""
    bound = structlog.contextvars.get_contextvars()
    return {name: str(bound[name]) for name in IDS if bound.get(name)}
