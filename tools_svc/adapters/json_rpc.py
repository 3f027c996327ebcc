"""JSON-RPC messages out of bytes that a tool server sent."""

import json
from contextlib import suppress
from typing import Any

import structlog
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter

from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters.framing import Oversized
from tools_svc.adapters.json_ends import fields
from tools_svc.adapters.mcp_errors import DEVIATES, RESULT_TOO_LARGE

log = structlog.get_logger()

_ANSWERS = {"result", "error"}
_NO_MESSAGE = "The tool's server sent a message that is not JSON-RPC."
_NO_ANSWER = "The tool's server gave an answer that is not JSON-RPC."


def message(name: str, text: bytes | Oversized) -> SessionMessage | None:
    """Read a message of the server `name`; an answer that was too large becomes an error of the call that it answers.

    So does one that is not as JSON-RPC wants it. A request that was too large, or is not as JSON-RPC wants it, is given
    without its params: whatever cannot do without is refused. Gives None for what answers no call: a notification of
    that kind, a request whose id is not certain, and what a server has printed there by mistake, such as the lines of
    its log. Raises `ToolConnectionLost` for what may be the answer of a call and does not say for certain which: any
    call may have taken effect, so none may be ended as failed.
    """
    if isinstance(text, Oversized):
        return _too_large(name, text)
    try:
        return SessionMessage(_parsed(text))
    except (ValueError, RecursionError):
        return _mended(name, text)


def overlooked(name: str, text: bytes) -> None:
    """Note what the server `name` said that is no message."""
    if text.strip():
        log.warning("tool_server.noise", server=name, line=text[:200].decode(errors="replace"))


def _parsed(text: bytes) -> JSONRPCMessage:
    try:
        return jsonrpc_message_adapter.validate_json(text, by_name=False)
    except ValueError:
        # The strict parser takes neither bytes that are not UTF-8 nor half a surrogate pair; neither is worth a call.
        lenient = json.dumps(json.loads(text.decode(errors="replace")), ensure_ascii=False)
        return jsonrpc_message_adapter.validate_json(lenient.encode(errors="replace"), by_name=False)


def _mended(name: str, text: bytes) -> SessionMessage | None:
    """Make the best of what is no message."""
    said = _object(text)
    if said is None:
        raise ToolConnectionLost(_NO_MESSAGE)
    request = said.get("id")
    number = request if isinstance(request, int) and not isinstance(request, bool) else None
    if "method" in said and "jsonrpc" in said and (number is not None or isinstance(request, str)):
        return _bare(json.dumps(said["method"]).encode(), json.dumps(request).encode())
    if _may_answer(said):
        if number is None:
            raise ToolConnectionLost(_NO_MESSAGE)
        return failed(number, DEVIATES, _NO_ANSWER)
    overlooked(name, text)
    return None


def _object(text: bytes) -> dict[str, Any] | None:
    """Give the object that a text is, None for what is none."""
    try:
        said = json.loads(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _may_answer(said: dict[str, Any]) -> bool:
    if "method" in said or "id" not in said:
        return False
    # The lines of a log have ids and errors too; they are words there.
    return "jsonrpc" in said or any(isinstance(said.get(each), dict) for each in _ANSWERS)


def answers(text: Oversized) -> bool:
    """Whether a message that was too large is for certain the answer of a request."""
    names = dict(fields(text.head, text.tail)).keys()
    return "method" not in names and not names.isdisjoint(_ANSWERS)


def _too_large(name: str, text: Oversized) -> SessionMessage | None:
    """Answer the call whose result was thrown away, or leave the params of a request away."""
    log.warning("tool_server.message_too_large", server=name, bytes=text.length)
    found = fields(text.head, text.tail)
    ids = {value for field, value in found if field == "id"}
    if (method := dict(found).get("method")) is not None:
        return _bare(method, ids.pop()) if len(ids) == 1 else None
    if len(ids) != 1 or not answers(text) or not (number := ids.pop()).isdigit():
        raise ToolConnectionLost(f"The tool's server sent a message of {text.length} bytes.")
    return failed(int(number), RESULT_TOO_LARGE, f"{text.length} bytes")


def _bare(method: bytes, request: bytes) -> SessionMessage | None:
    text = b'{"jsonrpc": "2.0", "id": %b, "method": %b}' % (request, method)
    with suppress(ValueError):
        return SessionMessage(_parsed(text))
    return None


def failed(request: int | str, code: int, words: str) -> SessionMessage:
    """Give the error that answers a request."""
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=words)))
