"""Passes notifications on by HTTP, so that what a server announces can begin something elsewhere."""

import asyncio
import json
from collections.abc import Callable, Mapping

import httpx2
import structlog

from tools_svc.adapters.guarded_network import GuardedTransport
from tools_svc.adapters.hook_body import ParameterMissing, filled
from tools_svc.adapters.secrets import expand
from tools_svc.adapters.server_config import Webhook
from tools_svc.domain.notification import Notification

log = structlog.get_logger()

MOST_WAITING = 32
"""Notifications that wait for one hook; those that come while so many wait are dropped."""

_SECONDS = 5.0

Key = tuple[str, str]


class WebhookListener:
    """A `NotificationListener` that POSTs parameters as JSON, in order, to the hook of their server and method.

    Each notification is tried once. `count` hears of a server and of what became of its notification: `delivered`,
    `refused` by an answer that is not 2xx, `unreachable`, `unfit` for the hook's body, or `dropped`. The log says when
    that changes.
    `run` must be running for anything to be sent.
    """

    def __init__(
        self, hooks: Mapping[Key, Webhook], *, count: Callable[[str, str], None], timeout_seconds: float = _SECONDS
    ) -> None:
        self._hooks = hooks
        self._count = count
        self._timeout_seconds = timeout_seconds
        self._waiting: dict[Key, asyncio.Queue[Notification]] = {key: asyncio.Queue(MOST_WAITING) for key in hooks}
        self._last: dict[Key, str] = {}

    def heard(self, notification: Notification) -> None:
        """Let it wait for its hook; drop it when too many do, or when there is none."""
        waiting = self._waiting.get((notification.server, notification.method))
        if waiting is None or waiting.full():
            self._settle(notification, "dropped")
        else:
            waiting.put_nowait(notification)

    async def run(self) -> None:
        """Deliver until cancelled; what waits then is lost."""
        async with asyncio.TaskGroup() as tasks:
            for key, hook in self._hooks.items():
                tasks.create_task(self._run_hook(hook, self._waiting[key]), name=f"webhook:{key[0]}")

    async def _run_hook(self, hook: Webhook, waiting: asyncio.Queue[Notification]) -> None:
        transport = GuardedTransport(private_network=hook.private_network)
        async with httpx2.AsyncClient(
            transport=transport, timeout=self._timeout_seconds, follow_redirects=False, trust_env=False
        ) as client:
            await self._deliver(client, hook, waiting)

    async def _deliver(self, client: httpx2.AsyncClient, hook: Webhook, waiting: asyncio.Queue[Notification]) -> None:
        while True:
            notification = await waiting.get()
            try:
                text = _body(hook, notification.params_json)
                # A server that sends its answer slowly enough would never time out.
                async with asyncio.timeout(self._timeout_seconds):
                    outcome = await _posted(client, hook, text)
            except ParameterMissing as missing:
                log.warning("notification.unfit", server=notification.server, lacks=str(missing))
                outcome = "unfit"
            except Exception as error:  # noqa: BLE001  # whatever breaks a hook costs its own notifications only
                log.info("notification.error", server=notification.server, error=type(error).__name__)
                outcome = "unreachable"
            self._settle(notification, outcome)

    def _settle(self, notification: Notification, outcome: str) -> None:
        self._count(notification.server, outcome)
        key = (notification.server, notification.method)
        if self._last.get(key, "delivered") != outcome:
            log.warning("notification.outcome", server=notification.server, method=notification.method, outcome=outcome)
        self._last[key] = outcome


def _body(hook: Webhook, params_json: str) -> str:
    if hook.body is None:
        return params_json
    return json.dumps(filled(hook.body, json.loads(params_json)), ensure_ascii=False)


async def _posted(client: httpx2.AsyncClient, hook: Webhook, text: str) -> str:
    """Give what became of it; the answer's body, which may have no end, is not read."""
    headers = httpx2.Headers({"content-type": "application/json"})
    headers.update({name: expand(value) for name, value in hook.headers.items()})
    async with client.stream(
        "POST", expand(hook.url), headers=headers, content=text.encode(errors="replace")
    ) as response:
        return "delivered" if response.is_success else "refused"
