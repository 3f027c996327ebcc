"""JSON log lines, one an event, each with the ids of the request it belongs to."""

import json
import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor

IDS = ("request_id", "thread_id", "run_id")
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


def configure(*, unit: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs of this process, also those of libraries, to `stream` (default: stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(unit))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


_SHARED: list[Processor] = [
    merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
"""What is done to our lines and to those of libraries alike."""


def _formatter(unit: str) -> logging.Formatter:
    def add_unit(_: object, __: str, event: EventDict) -> EventDict:
        event["unit"] = unit
        return event

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_unit,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=True),
            _hidden,
        ],
    )


def current_ids() -> dict[str, str]:
    """Give the ids bound to the running task."""
    bound = structlog.contextvars.get_contextvars()
    return {name: str(bound[name]) for name in IDS if bound.get(name)}
