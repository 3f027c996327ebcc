"""The keys of the servers file that say how a server deviates from the protocol."""

from collections.abc import Iterator, Mapping
from typing import Any

from tools_svc.adapters import hook_body, located_json, web_keys
from tools_svc.adapters.mcp_quirks import QUIRKS
from tools_svc.adapters.server_config import Webhook

KEYS = {"quirks", "notifications"}
_HOOK_KEYS = {"webhook", "headers", "private_network", "body"}

Complaint = tuple[located_json.Path, str]


def check_quirks(value: Any) -> Iterator[Complaint]:
    """Say what is wrong with a list of quirks."""
    if not isinstance(value, list):
        yield (), "it must be a list of quirks"
        return
    for index, quirk in enumerate(value):
        if not isinstance(quirk, str) or quirk not in QUIRKS:
            yield (index,), f"it must be one of {', '.join(QUIRKS)}"


def check_notifications(value: Any) -> Iterator[Complaint]:
    """Say what is wrong with hooks for notifications."""
    if not isinstance(value, dict):
        yield (), "it must be an object of hooks by method"
        return
    for method, hook in value.items():
        if method.startswith("notifications/"):
            yield (method,), "the protocol's own notifications cannot be passed on"
        elif not isinstance(hook, dict) or "webhook" not in hook or hook.keys() - _HOOK_KEYS:
            yield (method,), "it must be an object with 'webhook' and perhaps 'headers', 'body' and 'private_network'"
        else:
            yield from (((method, *place), reason) for place, reason in _hook_complaints(hook))


def notifications(raw: Mapping[str, Any]) -> dict[str, Webhook]:
    """Give a server's hooks by the method of the notification."""
    return {
        method: Webhook(
            url=hook["webhook"],
            headers=hook.get("headers", {}),
            private_network=hook.get("private_network", False),
            body=hook.get("body"),
        )
        for method, hook in raw.get("notifications", {}).items()
    }


def _hook_complaints(hook: dict[str, Any]) -> Iterator[Complaint]:
    private = hook.get("private_network", False)
    yield from ((("webhook",), reason) for _, reason in web_keys.check_url(hook["webhook"], private_network=private))
    yield from ((("private_network",), reason) for _, reason in web_keys.check_private_network(private))
    yield from ((("headers", *place), reason) for place, reason in web_keys.check_secrets(hook.get("headers", {})))
    if not isinstance(body := hook.get("body", {}), dict):
        yield ("body",), "it must be an object"
    yield from ((("body", *place), reason) for place, reason in hook_body.check(body))
