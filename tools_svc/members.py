"""Builds the members of the fleet from the servers file, for each process that calls tools."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from mcp.client import Transport

from threadmesh.clock import SystemClock
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_http import http_transport
from tools_svc.adapters.mcp_mending import mending
from tools_svc.adapters.mcp_notifications import Announcements
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.mcp_sse import sse_transport
from tools_svc.adapters.mcp_stdio import stdio_transport
from tools_svc.adapters.prometheus_metrics import MeteredSource, ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.adapters.server_config import HttpServer, ServerConfig, SseServer, StdioServer
from tools_svc.adapters.servers_file import DEFAULT, read_servers
from tools_svc.adapters.webhook_listener import WebhookListener
from tools_svc.domain.fleet import Member
from tools_svc.domain.govern import govern
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import NotificationListener
from tools_svc.settings import ToolsSettings


def servers_file(settings: ToolsSettings) -> Path:
    """Give the servers file that holds."""
    return Path(settings.servers_file).expanduser() if settings.servers_file else DEFAULT


def enabled_servers(file: Path) -> dict[str, ServerConfig]:
    """Read the servers that are wanted; raises `ConfigurationError`."""
    return {each.name: each for each in read_servers(file) if not each.disabled}


def member(settings: ToolsSettings, metrics: ToolMetrics, policies: PolicyMetrics, server: ServerConfig) -> Member:
    """Build a server's source under its policy."""
    metrics.know(server.name)
    policies.know(server.name)
    policy = _policy(server, settings)
    hooks = {(server.name, method): hook for method, hook in server.notifications.items()}
    webhooks = WebhookListener(hooks, count=metrics.notification)
    source = _source(server, settings, webhooks)
    return Member(
        source=govern(MeteredSource(source, metrics), policy, clock=SystemClock(), listener=policies),
        policy=policy,
        run=partial(together, source.run, webhooks.run),
    )


async def together(*work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do all of the work at once."""
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each())


def _source(server: ServerConfig, settings: ToolsSettings, listener: NotificationListener) -> McpSource:
    announcements = Announcements(server.name, server.notifications.keys(), listener)
    return McpSource(
        server.name,
        partial(_transport, server, announcements),
        clock=SystemClock(),
        connect_seconds=settings.connect_timeout_seconds,
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


def _policy(server: ServerConfig, settings: ToolsSettings) -> ServerPolicy:
    return ServerPolicy(
        timeout_seconds=server.timeout_seconds or settings.call_timeout_seconds,
        effects=server.effects,
        hints_trusted=server.hints_trusted,
        max_parallel=server.max_parallel,
        max_waiting=server.max_waiting,
        breaker=server.breaker,
        rate=server.rate,
        approval=server.approval,
        tools=server.tools,
    )
