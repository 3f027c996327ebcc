"""What some servers say instead of what the protocol asks for, and how each of it is understood.

Pure functions over the results of JSON-RPC responses. A quirk gives the very object that it was given when there is
nothing to mend, and never touches a result that the SDK would take as it is.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION

Result = dict[str, Any]

_JSON_TYPE = "application/json"
_ABOUT_THE_BLOCK = ("type", "mimeType", "annotations", "_meta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """A deviation: what the server does, in one sentence, and how to give its result the protocol's form."""

    meaning: str
    mend: Callable[[Result], Result]


def mended(result: Result, quirks: Collection[str]) -> Result:
    """Give a result as the protocol has it, as far as these quirks go."""
    for name in quirks:
        result = QUIRKS[name].mend(result)
    return result


def missing(result: Result, quirks: Collection[str]) -> tuple[str, ...]:
    """Name the quirks beyond these without which the result cannot be understood."""
    return tuple(name for name, quirk in QUIRKS.items() if name not in quirks and quirk.mend(result) is not result)


def _server_info(result: Result) -> Result:
    if "protocolVersion" not in result or "serverInfo" in result:
        return result
    said = result.get("server")
    facts = said if isinstance(said, Mapping) else {"name": said}
    return result | {"serverInfo": {key: str(facts.get(key) or "unknown") for key in ("name", "version")}}


def _protocol_version(result: Result) -> Result:
    said = result.get("protocolVersion")
    if said is None or said in HANDSHAKE_PROTOCOL_VERSIONS:
        return result
    return result | {"protocolVersion": LATEST_HANDSHAKE_VERSION}


def _json_content(result: Result) -> Result:
    blocks = result.get("content")
    if not isinstance(blocks, list) or not any(_is_json(block) for block in blocks):
        return result
    values = [_value(block) for block in blocks if _is_json(block)]
    readable = result | {"content": [_readable(block) if _is_json(block) else block for block in blocks]}
    if len(values) == 1 and isinstance(values[0], dict):
        readable.setdefault("structuredContent", values[0])
    return readable


def _is_json(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == _JSON_TYPE


def _readable(block: Mapping[str, Any]) -> dict[str, Any]:
    value = _value(block)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"type": "text", "text": text}


def _value(block: Mapping[str, Any]) -> Any:
    """Give what a block holds: the one member that is not about the block, whatever it is called, else all of them."""
    members = {name: value for name, value in block.items() if name not in _ABOUT_THE_BLOCK}
    value = next(iter(members.values())) if len(members) == 1 else members
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


QUIRKS: Mapping[str, Quirk] = {
    "server_info": Quirk(
        meaning="The answer to `initialize` names the server in `server`, or not at all, instead of in `serverInfo`.",
        mend=_server_info,
    ),
    "protocol_version": Quirk(
        meaning="The answer to `initialize` bears a version that MCP never had; the one that was asked for is meant.",
        mend=_protocol_version,
    ),
    "json_content": Quirk(
        meaning="Tools answer with blocks of type `application/json`; they become text, and a single object "
        "becomes the structured result too.",
        mend=_json_content,
    ),
}
"""The quirks that a servers file may name."""
