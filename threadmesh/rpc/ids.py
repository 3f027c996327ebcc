"""The ids of a request in the metadata of its RPCs."""

from collections.abc import Iterable

from threadmesh.telemetry.logs import IDS, current_ids
from threadmesh.telemetry.trace import traceparent_of

_KEYS = {name: f"x-{name.replace('_', '-')}" for name in IDS} | {"traceparent": "traceparent"}
_LONGEST = 256


def ids_in(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Give the ids that came with an RPC."""
    sent = dict(metadata)
    ids = {name: str(sent[key])[:_LONGEST] for name, key in _KEYS.items() if sent.get(key)}
    if trace := traceparent_of(ids.pop("traceparent", "")):
        ids["traceparent"] = trace
    return ids


def as_metadata() -> list[tuple[str, str]]:
    """Give the running task's ids as they go out with an RPC; what metadata cannot hold is left out."""
    return [(_KEYS[name], value) for name, value in current_ids().items() if value.isascii() and value.isprintable()]
