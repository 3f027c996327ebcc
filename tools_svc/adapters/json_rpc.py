"""JSON-RPC messages out of bytes that a tool server sent."""

import json
from contextlib import suppress

import structlog
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter

from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters.framing import Oversized
from tools_svc.adapters.json_ends import fields
from tools_svc.adapters.mcp_errors import RESULT_TOO_LARGE

log = structlog.get_logger()

_ANSWERS = {"result", "error"}


def message(name: str, text: bytes | Oversized) -> SessionMessage | None:
    """Read a message of the server `name`; an answer that was too large becomes an error of the call that it answers.

    A request that was too large is given without its params: whatever cannot do without is refused. Gives None for a
    notification, and for a request whose id is not certain: it answers no call, and is left out. Raises
    `ToolConnectionLost` for what is no message, and for a large one that does not say for certain which call it
    answers: any call may have taken effect, so none may be ended as failed.
    """
    if isinstance(text, Oversized):
        return _too_large(name, text)
    try:
        return SessionMessage(_parsed(text))
    except (ValueError, RecursionError) as error:
        raise ToolConnectionLost("The tool's server sent a message that is not JSON-RPC.") from error


def _parsed(text: bytes) -> JSONRPCMessage:
    try:
        return jsonrpc_message_adapter.validate_json(text, by_name=False)
    except ValueError:
        # The strict parser takes neither bytes that are not UTF-8 nor half a surrogate pair; neither is worth a call.
        lenient = json.dumps(json.loads(text.decode(errors="replace")), ensure_ascii=False)
        return jsonrpc_message_adapter.validate_json(lenient.encode(errors="replace"), by_name=False)


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
