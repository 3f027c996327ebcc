"""The key `verify` of a tool in the servers file: how to find out what came of a call that was cut off.

It names a read-only `tool` of the same server, its `arguments`, in which `{"$from": "/arguments/..."}`,
`{"$from": "/call_id"}` and `{"$from": "/idempotency_key"}` stand for what the call has there, and by `done` the place
in its answer that says whether the call was done (JSON pointers, RFC 6901). `after_seconds` is the pause before it is
asked, `again` sends a call that was not done once more whatever its effect.
"""

import re
from collections.abc import Iterator
from typing import Any

from tools_svc.adapters import located_json
from tools_svc.domain.tool import Effect
from tools_svc.domain.verify import AFTER_SECONDS, PLACEHOLDER, Verify

Complaint = tuple[located_json.Path, str]

_KEYS = {"tool", "arguments", "done", "after_seconds", "again"}
_POINTER = re.compile(r"(/([^/~]|~[01])*)*")
_FROM_CALL = re.compile(r"/call_id|/idempotency_key|/arguments(/([^/~]|~[01])*)+")
_LONGEST_PAUSE = 60.0


def check(value: Any) -> Iterator[Complaint]:
    """Complain about what does not say how to find out what came of a call."""
    if not isinstance(value, dict):
        yield (), "it must be an object with tool, arguments and done"
        return
    yield from (((key,), "no such key") for key in value if key not in _KEYS)
    if not isinstance(value.get("tool"), str) or not value["tool"]:
        yield ("tool",), "it must be a tool of this server, by its own name"
    if not isinstance(value.get("done"), str) or not _POINTER.fullmatch(value["done"]):
        yield ("done",), "it must be a JSON pointer into the tool's answer, such as /found"
    if not isinstance(value.get("arguments"), dict) or PLACEHOLDER in value["arguments"]:
        yield ("arguments",), "it must be an object: the arguments of the tool"
    else:
        yield from ((("arguments", *inner), reason) for inner, reason in _template_complaints(value["arguments"]))
        if not _names_the_call(value["arguments"]):
            yield ("arguments",), 'nothing in it comes from the call; write {"$from": "/arguments/..."} or "/call_id"'
    pause = value.get("after_seconds", 0)
    if not isinstance(pause, int | float) or isinstance(pause, bool) or not 0 <= pause <= _LONGEST_PAUSE:
        yield ("after_seconds",), f"it must be a number of seconds, 0 to {_LONGEST_PAUSE:.0f}"
    if not isinstance(value.get("again", False), bool):
        yield ("again",), "it must be true or false"


def check_together(raw: dict[str, Any]) -> Iterator[Complaint]:
    """Complain about a `verify` that asks what may not be asked, or is of no use, given the server's other keys."""
    for tool, policy in raw["tools"].items():
        verify = policy.get("verify") if isinstance(policy, dict) else None
        if not isinstance(verify, dict) or not isinstance(verify.get("tool"), str) or not verify["tool"]:
            continue
        place, asked = ("tools", tool, "verify"), verify["tool"]
        if _effect(raw, tool) == Effect.READ_ONLY.value:
            yield place, "a read_only tool has no effect to be found out"
        if _effect(raw, asked) != Effect.READ_ONLY.value:
            yield (*place, "tool"), "this file must say that this tool is read_only"
        if "cache_seconds" in _said(raw, asked):
            yield (*place, "tool"), "answers of this tool are kept, so it may tell how things were before the call"
        if _said(raw, asked).get("approval", raw.get("approval", "never")) != "never":
            yield (*place, "tool"), "nobody could be asked to approve a call of this tool"


def verify(raw: dict[str, Any]) -> Verify:
    """Give what a value without complaints says."""
    return Verify(
        tool=raw["tool"],
        arguments=raw["arguments"],
        done=raw["done"],
        after_seconds=float(raw.get("after_seconds", AFTER_SECONDS)),
        again=raw.get("again", False),
    )


def _template_complaints(template: Any) -> Iterator[Complaint]:
    match template:
        case {"$from": pointer}:
            if len(template) > 1:
                yield (), f"{PLACEHOLDER} stands alone in its object"
            if not isinstance(pointer, str) or not _FROM_CALL.fullmatch(pointer):
                yield (PLACEHOLDER,), "it must be /arguments/<name>, /call_id or /idempotency_key"
        case dict():
            for name, value in template.items():
                yield from (((name, *inner), reason) for inner, reason in _template_complaints(value))
        case list():
            for index, value in enumerate(template):
                yield from (((index, *inner), reason) for inner, reason in _template_complaints(value))


def _names_the_call(template: Any) -> bool:
    if isinstance(template, dict):
        return PLACEHOLDER in template or any(map(_names_the_call, template.values()))
    return isinstance(template, list) and any(map(_names_the_call, template))


def _effect(raw: dict[str, Any], tool: str) -> Any:
    return _said(raw, tool).get("effect", raw["effects"].get(tool))


def _said(raw: dict[str, Any], tool: str) -> dict[str, Any]:
    said = raw["tools"].get(tool, {})
    return said if isinstance(said, dict) else {}
