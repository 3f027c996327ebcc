"""Builds the members of the fleet from the servers file, for each process that calls tools."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from threadmesh.clock import SystemClock
from tools_svc.adapters.mcp_servers import configured_source
from tools_svc.adapters.prometheus_metrics import MeteredSource, ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.adapters.server_config import ServerConfig, server_policy
from tools_svc.adapters.servers_file import DEFAULT
from tools_svc.adapters.webhook_listener import WebhookListener
from tools_svc.domain.fleet import Member
from tools_svc.domain.govern import govern
from tools_svc.settings import ToolsSettings


def servers_file(settings: ToolsSettings) -> Path:
    """Give the servers file that holds."""
    return Path(settings.servers_file).expanduser() if settings.servers_file else DEFAULT


def member(settings: ToolsSettings, metrics: ToolMetrics, policies: PolicyMetrics, server: ServerConfig) -> Member:
    """Build a server's source under its policy."""
    metrics.know(server.name)
    policies.know(server.name)
    policy = server_policy(server, call_seconds=settings.call_timeout_seconds)
    hooks = {(server.name, method): hook for method, hook in server.notifications.items()}
    webhooks = WebhookListener(hooks, count=metrics.notification)
    source = configured_source(server, webhooks, connect_seconds=settings.connect_timeout_seconds)
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
