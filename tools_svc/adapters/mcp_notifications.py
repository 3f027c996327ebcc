"""Takes notifications that the protocol does not know out of a server's messages."""

import json
from collections.abc import Collection

import structlog
from mcp_types import JSONRPCMessage, JSONRPCNotification

from tools_svc.domain.notification import LARGEST_BYTES, Notification
from tools_svc.domain.ports import NotificationListener

log = structlog.get_logger()


class Announcements:
    """A server's notifications of some methods, told to a listener; one that is too large is only logged."""

    def __init__(self, server: str, methods: Collection[str], listener: NotificationListener) -> None:
        self._server = server
        self._methods = methods
        self._listener = listener

    def take(self, message: JSONRPCMessage) -> bool:
        """Tell of a message if it is one of these; False when it is for somebody else."""
        if not isinstance(message, JSONRPCNotification) or message.method not in self._methods:
            return False
        params = json.dumps(message.params or {}, ensure_ascii=False).encode("utf-8", "replace").decode()
        if len(params.encode()) > LARGEST_BYTES:
            log.warning("notification.too_large", server=self._server, method=message.method, characters=len(params))
        else:
            self._listener.heard(Notification(server=self._server, method=message.method, params_json=params))
        return True
