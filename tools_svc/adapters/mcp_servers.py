"""Makes the source of a configured server, by whichever transport it is reached."""

from functools import partial

from mcp.client import Transport

from threadmesh.clock import SystemClock
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_http import http_transport
from tools_svc.adapters.mcp_mending import mending
from tools_svc.adapters.mcp_notifications import Announcements
from tools_svc.adapters.mcp_questions import Allowed
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.mcp_sse import sse_transport
from tools_svc.adapters.mcp_stdio import stdio_transport
from tools_svc.adapters.server_config import HttpServer, ServerConfig, SseServer, StdioServer
from tools_svc.domain.ports import NotificationListener


def configured_source(server: ServerConfig, listener: NotificationListener, *, connect_seconds: float) -> McpSource:
    """Give the source of a server; `listener` hears what it announces by the methods that the configuration names."""
    announcements = Announcements(server.name, server.notifications.keys(), listener)
    return McpSource(
        server.name,
        partial(_transport, server, announcements),
        clock=SystemClock(),
        connect_seconds=connect_seconds,
        allowed=Allowed(elicitation=server.elicitation, sampling=server.sampling),
    )


def _transport(server: ServerConfig, announcements: Announcements, lifeline: Lifeline) -> Transport:
    return mending(_bare_transport(server, lifeline), server.quirks, announcements)


def _bare_transport(server: ServerConfig, lifeline: Lifeline) -> Transport:
    match server.transport:
        case StdioServer() as stdio:
            return stdio_transport(server.name, stdio, lifeline)
        case HttpServer() as http:
            return http_transport(http, lifeline)
        case SseServer() as sse:
            return sse_transport(server.name, sse, lifeline)
