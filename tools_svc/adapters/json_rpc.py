"""JSON-RPC messages out of bytes that a tool server sent."""

import json
import re

import structlog
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter

from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters.framing import Oversized
from tools_svc.adapters.mcp_errors import RESULT_TOO_LARGE

log = structlog.get_logger()

_ID = re.compile(rb'"id"\s*:\s*(\d+)\s*[,}]')


def message(name: str, text: bytes | Oversized) -> SessionMessage:
    """Read a message of the server `name`; one that was too large becomes an error of the call that it answers.

    Raises `ToolConnectionLost` for what is no message, or for a large one that does not say whose it is.
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


def _too_large(name: str, text: Oversized) -> SessionMessage:
    """Answer the call whose result was thrown away; without its id nobody knows which of them that is."""
    log.warning("tool_server.message_too_large", server=name, bytes=text.length)
    found = _ID.search(text.head) or _ID.search(text.tail)
    if found is None:
        raise ToolConnectionLost(f"The tool's server sent a message of {text.length} bytes.")
    return failed(int(found[1]), RESULT_TOO_LARGE, f"{text.length} bytes")


def failed(request: int | str, code: int, words: str) -> SessionMessage:
    """Give the error that answers a request."""
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=words)))
