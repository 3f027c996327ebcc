"""The keys of the servers file that limit, repeat and remember calls.

A server may have `max_parallel`, `max_waiting`, `rate`, `breaker`, `approval`, `untrusted` and
`description_characters`, and `tools`: for each tool by its own name `effect`, `timeout_seconds`, `max_parallel`,
`rate`, `retries`, `cache_seconds`, `approval`, `untrusted`, `queue` and `verify`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from threadmesh.breaker import BreakerLimits
from tools_svc.adapters import located_json, verify_keys
from tools_svc.domain.policy import RETRIES, ToolPolicy
from tools_svc.domain.telling import LONGEST_DESCRIPTION
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.tool import ApprovalRule, Effect

KEYS = {
    "approval",
    "breaker",
    "description_characters",
    "effects",
    "max_parallel",
    "max_waiting",
    "rate",
    "tools",
    "untrusted",
}

Complaint = tuple[located_json.Path, str]
Check = Callable[[Any], Iterator[Complaint]]

_LONGEST_SECONDS = 24 * 3600.0
_MOST_PARALLEL = 1024
_MOST_RETRIES = 10
_SHORTEST_DESCRIPTION = 64
_MOST_WAITING = 100_000
_MOST_FAILURES = 1_000
_SLOWEST, _FASTEST = 0.001, 10_000.0
_LARGEST_BURST = 10_000


def check_seconds(value: Any) -> Iterator[Complaint]:
    """Complain about what is no time: more than nothing and at most a day."""
    if not _is_number(value) or not 0 < value <= _LONGEST_SECONDS:
        yield (), f"it must be a number of seconds, more than 0 and at most {_LONGEST_SECONDS:.0f}"


def check_effect(value: Any) -> Iterator[Complaint]:
    """Complain about what is no effect."""
    allowed = [effect.value for effect in Effect]
    if value not in allowed:
        yield (), f"it must be one of {', '.join(allowed)}"


def check_approval(value: Any) -> Iterator[Complaint]:
    """Complain about what does not say which calls a person approves."""
    allowed = [rule.value for rule in ApprovalRule]
    if value not in allowed:
        yield (), f"it must be one of {', '.join(allowed)}"


def check_switch(value: Any) -> Iterator[Complaint]:
    """Complain about what is neither true nor false."""
    if not isinstance(value, bool):
        yield (), "it must be true or false"


def check_description_characters(value: Any) -> Iterator[Complaint]:
    """Complain about what is no length of a description."""
    yield from _whole(value, least=_SHORTEST_DESCRIPTION, most=LONGEST_DESCRIPTION)


def check_max_waiting(value: Any) -> Iterator[Complaint]:
    """Complain about what is no number of waiting calls."""
    yield from _whole(value, least=0, most=_MOST_WAITING)


def check_breaker(value: Any) -> Iterator[Complaint]:
    """Complain about what is neither false nor an object of limits."""
    if value is False:
        return
    if not isinstance(value, dict):
        yield (), "it must be false, or an object with failures, rest_seconds and longest_rest_seconds"
        return
    checks = {"failures": _check_failures, "rest_seconds": check_seconds, "longest_rest_seconds": check_seconds}
    for key, given in value.items():
        if check := checks.get(key):
            yield from (((key, *inner), reason) for inner, reason in check(given))
        else:
            yield (key,), "no such key"


def check_max_parallel(value: Any) -> Iterator[Complaint]:
    """Complain about what is no number of calls."""
    yield from _whole(value, least=1, most=_MOST_PARALLEL)


def check_rate(value: Any) -> Iterator[Complaint]:
    """Complain about what is neither calls a second nor `{"per_second": ..., "burst": ...}`."""
    if not isinstance(value, dict):
        yield from (((), reason) for _, reason in _per_second(value))
        return
    yield from (((key,), "no such key") for key in value if key not in ("per_second", "burst"))
    yield from ((("per_second",), reason) for _, reason in _per_second(value.get("per_second")))
    if "burst" in value:
        yield from ((("burst",), reason) for _, reason in _whole(value["burst"], least=1, most=_LARGEST_BURST))


def check_tools(value: Any) -> Iterator[Complaint]:
    """Complain about what is not an object of such objects, each by its tool."""
    if not isinstance(value, dict):
        yield (), "it must be an object of objects by tool"
        return
    for tool, raw in value.items():
        if isinstance(raw, dict):
            yield from (((tool, *inner), reason) for inner, reason in _tool_complaints(raw))
        else:
            yield (tool,), "it must be an object"


def check_together(raw: dict[str, Any]) -> Iterator[Complaint]:
    """Complain about keys of a server that do not go together: an effect said twice, a cache for what may not have one,
    a question that may not be asked.

    Says nothing about values that are wrong by themselves.
    """
    effects, tools = raw.get("effects", {}), raw.get("tools", {})
    if not isinstance(effects, dict) or not isinstance(tools, dict):
        return
    for tool, policy in tools.items():
        if not isinstance(policy, dict):
            continue
        if "effect" in policy and tool in effects:
            yield ("tools", tool, "effect"), "'effects' says it already; say it in one place"
        if "cache_seconds" in policy and policy.get("effect", effects.get(tool)) != Effect.READ_ONLY.value:
            yield ("tools", tool, "cache_seconds"), "answers are kept of read_only tools only"
    yield from verify_keys.check_together(raw | {"effects": effects, "tools": tools})


def effects(raw: dict[str, Any]) -> dict[str, Effect]:
    """Give the effects that a server without complaints says, in either form."""
    said = {tool: policy["effect"] for tool, policy in raw.get("tools", {}).items() if "effect" in policy}
    return {tool: Effect(effect) for tool, effect in (raw.get("effects", {}) | said).items()}


def tools(raw: dict[str, Any]) -> dict[str, ToolPolicy]:
    """Give what a server without complaints says of its tools."""
    return {tool: _tool(policy) for tool, policy in raw.get("tools", {}).items()}


def breaker(value: Any) -> BreakerLimits | None:
    """Give a breaker without complaints; None where there is to be none."""
    if value is False:
        return None
    usual = BreakerLimits()
    return BreakerLimits(
        consecutive=value.get("failures", usual.consecutive),
        rest_seconds=float(value.get("rest_seconds", usual.rest_seconds)),
        longest_rest_seconds=float(value.get("longest_rest_seconds", usual.longest_rest_seconds)),
    )


def rate(value: Any) -> Rate | None:
    """Give a rate without complaints; without a word about bursts, one second's calls may come at once."""
    if value is None:
        return None
    said = value if isinstance(value, dict) else {"per_second": value}
    per_second = float(said["per_second"])
    return Rate(per_second=per_second, burst=said.get("burst", max(1, math.ceil(per_second))))


def _tool(raw: dict[str, Any]) -> ToolPolicy:
    return ToolPolicy(
        timeout_seconds=raw.get("timeout_seconds"),
        max_parallel=raw.get("max_parallel"),
        rate=rate(raw.get("rate")),
        retries=raw.get("retries", RETRIES),
        cache_seconds=raw.get("cache_seconds"),
        approval=ApprovalRule(raw["approval"]) if "approval" in raw else None,
        untrusted=raw.get("untrusted"),
        queued=raw.get("queue", False),
        verify=verify_keys.verify(raw["verify"]) if "verify" in raw else None,
    )


def _tool_complaints(raw: dict[str, Any]) -> Iterator[Complaint]:
    for key, value in raw.items():
        if check := _TOOL_CHECKS.get(key):
            yield from (((key, *inner), reason) for inner, reason in check(value))
        else:
            yield (key,), "no such key"


def _check_failures(value: Any) -> Iterator[Complaint]:
    yield from _whole(value, least=1, most=_MOST_FAILURES)


def _check_retries(value: Any) -> Iterator[Complaint]:
    yield from _whole(value, least=0, most=_MOST_RETRIES)


def _per_second(value: Any) -> Iterator[Complaint]:
    if not _is_number(value) or not _SLOWEST <= value <= _FASTEST:
        yield (), f"it must be a number of calls a second, {_SLOWEST:g} to {_FASTEST:.0f}"


def _whole(value: Any, *, least: int, most: int) -> Iterator[Complaint]:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield (), f"it must be a whole number, {least} to {most}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_TOOL_CHECKS: dict[str, Check] = {
    "effect": check_effect,
    "timeout_seconds": check_seconds,
    "max_parallel": check_max_parallel,
    "rate": check_rate,
    "retries": _check_retries,
    "cache_seconds": check_seconds,
    "approval": check_approval,
    "untrusted": check_switch,
    "queue": check_switch,
    "verify": verify_keys.check,
}
