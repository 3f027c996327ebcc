"""The servers file: the usual `{"mcpServers": {...}}`, read strictly.

A server has either `command` (with `args`, `env`, `cwd`, `nice`, `sha256`), `python` (a file of functions, with `env`,
`cwd`, `nice`), both with the keys of `confinement_keys`, or `url` (with `headers`, `private_network`; with `type` `sse`
it speaks the older HTTP with SSE). It may have `timeout_seconds`, `disabled`, `elicitation`, `sampling`, `effects` by
tool, the keys of `policy_keys`, `quirks`, and `notifications`, which go to a `webhook` (with `headers`,
`private_network`) by their method. Beside the servers there may be `capabilities`. `${python}` as the command stands
for the running interpreter. Secrets are named as `${env:NAME}` or `${file:path}` in values of `env` and `headers` and
in the queries of addresses, never written down.
"""

import ast
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from threadmesh.settings import ConfigurationError
from tools_svc.adapters import capability_keys, confinement_keys, located_json, policy_keys, quirk_keys, web_keys
from tools_svc.adapters.located_json import JsonError, Located
from tools_svc.adapters.server_config import NICE, HttpServer, ServerConfig, SseServer, StdioServer
from tools_svc.domain.capability import Capability
from tools_svc.domain.naming import CAPABILITIES, is_server_name
from tools_svc.domain.policy import MOST_PARALLEL, MOST_WAITING
from tools_svc.domain.telling import DESCRIPTION
from tools_svc.domain.tool import ApprovalRule

DEFAULT = Path(__file__).parent.parent / "default_servers.json"

_FUNCTION_SERVER = "tools_svc.adapters.function_server"
_CODE = Path(__file__).parents[2]

_KEYS = {
    "command": {"command", "args", "env", "cwd", "nice", "sha256"} | confinement_keys.KEYS,
    "python": {"python", "env", "cwd", "nice"} | confinement_keys.KEYS,
    "url": {"url", "headers", "private_network"},
}
_COMMON_KEYS = {"type", "timeout_seconds", "disabled", "elicitation", "sampling"} | policy_keys.KEYS | quirk_keys.KEYS
_TYPES = {"stdio": "command", "http": "url", "streamable-http": "url", "sse": "url"}
_SHELL = re.compile(r"[;&|<>`$(){}\[\]*?!\"'\\\s]")
_NICEST = 19
_LARGEST_FILE = 1024 * 1024

Complaint = tuple[located_json.Path, str]


def read_servers(path: Path) -> tuple[ServerConfig, ...]:
    """Read the servers, in the order of the file.

    Raises `ConfigurationError` with a line `file:line: key: reason` for everything that is wrong in it.
    """
    value = _checked(path)
    return tuple(_config(name, raw) for name, raw in value["mcpServers"].items())


def read_capabilities(path: Path) -> tuple[Capability, ...]:
    """Read the capabilities, in the order of the file; raises as `read_servers` does."""
    return capability_keys.capabilities(_checked(path).get("capabilities", {}))


def _checked(path: Path) -> dict[str, Any]:
    located = _located(path)
    complaints = sorted(_complaints(located.value), key=lambda complaint: located.line(complaint[0]))
    if complaints:
        lines = (f"{path}:{located.line(place)}: {_key(place)}: {reason}" for place, reason in complaints)
        raise ConfigurationError("\n".join(lines))
    value: dict[str, Any] = located.value
    return value


def _located(path: Path) -> Located:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}:1: file: it cannot be read as UTF-8 text") from error
    except OSError as error:
        raise ConfigurationError(f"{path}:1: file: it cannot be read: {error.strerror}") from error
    if len(text) > _LARGEST_FILE:
        raise ConfigurationError(f"{path}:1: file: it is longer than {_LARGEST_FILE} characters")
    try:
        return located_json.parse(text)
    except JsonError as error:
        raise ConfigurationError(f"{path}:{error.line}: file: {error.reason}") from error


def _complaints(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, dict) or not isinstance(value.get("mcpServers"), dict):
        yield (), 'the file must hold {"mcpServers": {...}}'
        return
    yield from (((key,), "no such key") for key in value if key not in ("mcpServers", "capabilities"))
    told = capability_keys.check(value.get("capabilities", {}), value["mcpServers"])
    yield from ((("capabilities", *inner), reason) for inner, reason in told)
    for name, raw in value["mcpServers"].items():
        place = ("mcpServers", name)
        if not is_server_name(name):
            yield place, "a server's name is made of letters, digits, '-' and single inner '_', at most 32"
        if name == CAPABILITIES:
            yield place, "this name stands for capabilities"
        if isinstance(raw, dict):
            yield from ((place + inner, reason) for inner, reason in _server_complaints(raw))
        else:
            yield place, "it must be an object"


def _server_complaints(raw: dict[str, Any]) -> Iterator[Complaint]:
    kinds = [kind for kind in _KEYS if kind in raw]
    if len(kinds) != 1:
        yield (), "it needs either 'command', 'python' or 'url'"
        return
    yield from (((key,), "no such key") for key in raw if key not in _KEYS[kinds[0]] | _COMMON_KEYS)
    if "type" in raw and _TYPES.get(str(raw["type"])) not in kinds:
        yield ("type",), "it does not fit the server; leave it out"
    for key, check in _CHECKS.items():
        if key in raw:
            yield from (((key, *inner), reason) for inner, reason in check(raw[key]))
    if "url" in raw:
        checked = web_keys.check_url(raw["url"], private_network=raw.get("private_network"))
        yield from ((("url", *inner), reason) for inner, reason in checked)
    yield from policy_keys.check_together(raw)
    yield from confinement_keys.check_together(raw)


def _check_command(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str) or not value:
        yield (), "it must be a program's name or absolute path"
    elif value != "${python}" and _SHELL.search(value):
        yield (), "it holds characters of a shell; write the program alone and its arguments in 'args'"
    elif "/" in value and not value.startswith("/"):
        yield (), "a path must be absolute"


def _check_python(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str) or not value.startswith("/") or not value.endswith(".py"):
        yield (), "it must be the absolute path of a file '.py'"
    elif not Path(value).is_file():
        yield (), "there is no such file"
    else:
        yield from _syntax_complaints(Path(value))


def _syntax_complaints(path: Path) -> Iterator[Complaint]:
    try:
        ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        yield (), f"{path.name}{line} is not Python: {error.msg if isinstance(error, SyntaxError) else error}"
    except OSError as error:
        yield (), f"it cannot be read: {error.strerror}"


def _check_cwd(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str) or not value.startswith("/"):
        yield (), "it must be an absolute path"
    elif not Path(value).is_dir():
        yield (), "there is no such directory"


def _check_nice(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _NICEST:
        yield (), f"it must be a whole number, 0 to {_NICEST}: the higher, the more it yields the CPU to others"


def _check_effects(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, dict):
        yield (), "it must be an object of effects by tool"
        return
    for tool, effect in value.items():
        yield from (((tool,), reason) for _, reason in policy_keys.check_effect(effect))


_CHECKS: dict[str, Callable[[Any], Iterator[Complaint]]] = {
    "command": _check_command,
    "args": web_keys.check_arguments,
    "python": _check_python,
    "env": web_keys.check_secrets,
    "cwd": _check_cwd,
    "private_network": web_keys.check_private_network,
    "headers": web_keys.check_secrets,
    "timeout_seconds": policy_keys.check_seconds,
    "disabled": policy_keys.check_switch,
    "elicitation": policy_keys.check_switch,
    "sampling": policy_keys.check_switch,
    "nice": _check_nice,
    "effects": _check_effects,
    "quirks": quirk_keys.check_quirks,
    "notifications": quirk_keys.check_notifications,
    "max_parallel": policy_keys.check_max_parallel,
    "max_waiting": policy_keys.check_max_waiting,
    "rate": policy_keys.check_rate,
    "breaker": policy_keys.check_breaker,
    "approval": policy_keys.check_approval,
    "untrusted": policy_keys.check_switch,
    "description_characters": policy_keys.check_description_characters,
    "tools": policy_keys.check_tools,
    **confinement_keys.CHECKS,
}


def _config(name: str, raw: dict[str, Any]) -> ServerConfig:
    timeout = raw.get("timeout_seconds")
    return ServerConfig(
        name=name,
        transport=_transport(raw),
        timeout_seconds=None if timeout is None else float(timeout),
        disabled=raw.get("disabled", False),
        elicitation=raw.get("elicitation", False),
        sampling=raw.get("sampling", False),
        effects=policy_keys.effects(raw),
        max_parallel=raw.get("max_parallel", MOST_PARALLEL),
        max_waiting=raw.get("max_waiting", MOST_WAITING),
        rate=policy_keys.rate(raw.get("rate")),
        breaker=policy_keys.breaker(raw.get("breaker", {})),
        approval=ApprovalRule(raw.get("approval", ApprovalRule.NEVER)),
        untrusted=raw.get("untrusted"),
        description_characters=raw.get("description_characters", DESCRIPTION),
        tools=policy_keys.tools(raw),
        quirks=tuple(raw.get("quirks", ())),
        notifications=quirk_keys.notifications(raw),
        hints_trusted="python" in raw,
    )


def _transport(raw: dict[str, Any]) -> StdioServer | HttpServer | SseServer:
    if "url" in raw:
        kind = SseServer if raw.get("type") == "sse" else HttpServer
        private = raw.get("private_network", False)
        return kind(url=raw["url"], headers=raw.get("headers", {}), private_network=private)
    return _functions(raw) if "python" in raw else _stdio(raw)


def _functions(raw: dict[str, Any]) -> StdioServer:
    env = raw.get("env", {})
    # A checkout that is not installed must be found too; `-P` keeps the working directory out of the modules' path.
    path = os.pathsep.join([str(_CODE), *([env["PYTHONPATH"]] if "PYTHONPATH" in env else [])])
    arguments = ("-P", "-m", _FUNCTION_SERVER, raw["python"])
    file = Path(raw["python"])
    return StdioServer(
        command=sys.executable,
        args=arguments,
        env=env | {"PYTHONPATH": path},
        cwd=raw.get("cwd"),
        nice=raw.get("nice", NICE),
        confinement=confinement_keys.confinement(raw),
        functions=file,
        version=hashlib.sha256(file.read_bytes()).hexdigest(),
    )


def _stdio(raw: dict[str, Any]) -> StdioServer:
    command = sys.executable if raw["command"] == "${python}" else raw["command"]
    return StdioServer(
        command=command,
        args=tuple(raw.get("args", ())),
        env=raw.get("env", {}),
        cwd=raw.get("cwd"),
        nice=raw.get("nice", NICE),
        confinement=confinement_keys.confinement(raw),
    )


def _key(place: located_json.Path) -> str:
    return ".".join(str(part) for part in place[1:]) or ".".join(str(part) for part in place) or "file"
