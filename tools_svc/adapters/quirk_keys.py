"""The keys of the servers file that say how a server deviates from the protocol."""

from collections.abc import Iterator, Mapping
from typing import Any

from tools_svc.adapters import located_json, web_keys
from tools_svc.adapters.mcp_quirks import QUIRKS
from tools_svc.adapters.server_config import Webhook

KEYS = {"quirks", "notifications"}

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
        elif not isinstance(hook, dict) or "webhook" not in hook or hook.keys() - {"webhook", "headers"}:
            yield (method,), "it must be an object with 'webhook' and perhaps 'headers'"
        else:
            yield from (((method, "webhook"), reason) for _, reason in web_keys.check_url(hook["webhook"]))
            inner = web_keys.check_secrets(hook.get("headers", {}))
            yield from (((method, "headers", *place), reason) for place, reason in inner)


def notifications(raw: Mapping[str, Any]) -> dict[str, Webhook]:
    """Give a server's hooks by the method of the notification."""
    return {
        method: Webhook(url=hook["webhook"], headers=hook.get("headers", {}))
        for method, hook in raw.get("notifications", {}).items()
    }
