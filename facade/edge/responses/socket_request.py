"""The HTTP requests that messages of a WebSocket connection become, and their answers."""

import asyncio
import json
import re
from collections.abc import MutableMapping
from typing import Any

from fastapi import WebSocket
from starlette.responses import Response
from starlette.types import Message, Scope

from threadmesh.errors import InvalidArgument

_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_OWN = re.compile(rb"(connection|upgrade|sec-websocket-.*|content-.*|transfer-encoding|te|accept-encoding)")
"""Headers of the handshake that are no part of requests made over the connection."""
_OF_ONE_REQUEST = {b"idempotency-key", b"last-event-id", b"x-request-id", b"x-stainless-retry-count"}
_TRANSPORT = ("type", "stream", "stream_id", "generate")


class SocketRequest:
    """A request to the application: its body, and the end of its client."""

    def __init__(self, scope: Scope, body: bytes, left: asyncio.Event) -> None:
        self.scope = scope
        self._body: bytes | None = body
        self._left = left

    async def receive(self) -> Message:
        """Give the body, and then the end of the client once it has left."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}


class WholeAnswer:
    """A response that is read as a whole."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self._body = b""

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a piece in."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self._body += message.get("body", b"")

    def response(self) -> Response:
        """Give the response as it came."""
        return Response(self._body, self.status, self.headers)


def scope_of(websocket: WebSocket, method: str) -> Scope:
    """Give the scope of a request that comes over the connection, with the headers of the handshake."""
    given = websocket.scope
    kept = [each for each in given["headers"] if not _OWN.fullmatch(each[0]) and each[0] not in _OF_ONE_REQUEST]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https" if given.get("scheme") == "wss" else "http",
        "path": given["path"],
        "raw_path": given.get("raw_path"),
        "root_path": given.get("root_path", ""),
        "query_string": b"",
        "headers": [*kept, (b"content-type", b"application/json")],
        "client": given.get("client"),
        "server": given.get("server"),
        "state": {},
    }


def stream_id_of(given: dict[str, Any]) -> str | None:
    """Name the lane that a message asks for. Raises `InvalidArgument`."""
    stream_id = given.get("stream_id")
    if stream_id is None or (isinstance(stream_id, str) and _STREAM_ID.fullmatch(stream_id)):
        return stream_id
    raise InvalidArgument("stream_id must be 1 to 256 letters, digits, dots, dashes or underscores.", field="stream_id")


def body_of_message(given: dict[str, Any]) -> bytes:
    """Give the body of the request that a message is. Raises `InvalidArgument` for what no connection carries."""
    if given.get("type") != "response.create":
        raise InvalidArgument("type must be response.create.", field="type", kind="invalid_value")
    if given.get("background"):
        raise InvalidArgument(
            "background is for requests over HTTP; over a connection, leaving stops a response.",
            field="background",
            kind="unsupported_parameter",
        )
    if given.get("generate") is False:
        raise InvalidArgument(
            "generate must be true: what requests have in common is found by itself.",
            field="generate",
            kind="unsupported_parameter",
        )
    body = {name: value for name, value in given.items() if name not in _TRANSPORT}
    return json.dumps({**body, "stream": True}).encode()
