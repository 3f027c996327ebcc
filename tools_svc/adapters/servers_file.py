"""The servers file: the usual `{"mcpServers": {...}}`, read strictly.

A server has either `command` (with `args`, `env`, `cwd`) or `url` (with `headers`), and may have `timeout_seconds`,
`disabled`, `effects` by tool, and the keys of `policy_keys`. `${python}` as the command stands for the running
interpreter. Secrets are named as `${env:NAME}` or `${file:path}` in values of `env` and `headers`, never written down.
"""

import ipaddress
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from threadmesh.settings import ConfigurationError
from tools_svc.adapters import located_json, policy_keys
from tools_svc.adapters.located_json import JsonError, Located
from tools_svc.adapters.secrets import SecretMissing, expand, has_placeholder
from tools_svc.adapters.server_config import HttpServer, ServerConfig, StdioServer
from tools_svc.domain.naming import is_server_name
from tools_svc.domain.policy import MOST_PARALLEL

DEFAULT = Path(__file__).parent.parent / "default_servers.json"

_STDIO_KEYS = {"command", "args", "env", "cwd"}
_HTTP_KEYS = {"url", "headers"}
_COMMON_KEYS = {"type", "timeout_seconds", "disabled", "effects", "max_parallel", "rate", "tools"}
_TYPES = {"stdio": "command", "http": "url", "streamable-http": "url"}
_SHELL = re.compile(r"[;&|<>`$(){}\[\]*?!\"'\\\s]")
_SECRET_NAME = re.compile(r"token|secret|passw|api[-_]?key|credential|authorization|cookie", re.IGNORECASE)
_LARGEST_FILE = 1024 * 1024

Complaint = tuple[located_json.Path, str]


def read_servers(path: Path) -> tuple[ServerConfig, ...]:
    """Read the servers, in the order of the file.

    Raises `ConfigurationError` with a line `file:line: key: reason` for everything that is wrong in it.
    """
    located = _located(path)
    complaints = sorted(_complaints(located.value), key=lambda complaint: located.line(complaint[0]))
    if complaints:
        lines = (f"{path}:{located.line(place)}: {_key(place)}: {reason}" for place, reason in complaints)
        raise ConfigurationError("\n".join(lines))
    return tuple(_config(name, raw) for name, raw in located.value["mcpServers"].items())


def _located(path: Path) -> Located:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}:1: file: it cannot be read as UTF-8 text") from error
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
    yield from (((key,), "no such key") for key in value if key != "mcpServers")
    for name, raw in value["mcpServers"].items():
        place = ("mcpServers", name)
        if not is_server_name(name):
            yield place, "a server's name is made of letters, digits, '-' and single inner '_', at most 32"
        if isinstance(raw, dict):
            yield from ((place + inner, reason) for inner, reason in _server_complaints(raw))
        else:
            yield place, "it must be an object"


def _server_complaints(raw: dict[str, Any]) -> Iterator[Complaint]:
    kinds = {"command", "url"} & raw.keys()
    if len(kinds) != 1:
        yield (), "it needs either 'command' or 'url'"
        return
    own = _STDIO_KEYS if "command" in kinds else _HTTP_KEYS
    yield from (((key,), "no such key") for key in raw if key not in own | _COMMON_KEYS)
    if "type" in raw and _TYPES.get(str(raw["type"])) not in kinds:
        yield ("type",), "it does not fit the server; leave it out"
    for key, check in _CHECKS.items():
        if key in raw:
            yield from (((key, *inner), reason) for inner, reason in check(raw[key]))
    yield from policy_keys.check_together(raw)


def _check_command(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str) or not value:
        yield (), "it must be a program's name or absolute path"
    elif value != "${python}" and _SHELL.search(value):
        yield (), "it holds characters of a shell; write the program alone and its arguments in 'args'"
    elif "/" in value and not value.startswith("/"):
        yield (), "a path must be absolute"


def _check_args(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, list) or not all(isinstance(each, str) and "\0" not in each for each in value):
        yield (), "it must be a list of strings"


def _check_cwd(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str) or not value.startswith("/"):
        yield (), "it must be an absolute path"
    elif not Path(value).is_dir():
        yield (), "there is no such directory"


def _check_secrets(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, dict):
        yield (), "it must be an object of strings"
        return
    for name, text in value.items():
        if not isinstance(text, str) or re.search(r"[\0\r\n]", name + text):
            yield (name,), "it must be a string of one line"
        elif _SECRET_NAME.search(name) and text and not has_placeholder(text):
            yield (name,), "it holds a secret; write ${env:NAME} or ${file:/path} instead"
        else:
            yield from (((name,), reason) for reason in _missing(text))


def _missing(text: str) -> Iterator[str]:
    try:
        expand(text)
    except SecretMissing as error:
        yield error.message


def _check_url(value: Any) -> Iterator[Complaint]:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        yield (), "it must be an https:// address"
    elif parts.username or parts.password:
        yield (), "it holds credentials; put them into 'headers' as ${env:NAME}"
    elif parts.scheme == "http" and not _is_loopback(host):
        yield (), "http:// is allowed to this machine only; use https://"
    elif _is_link_local(host):
        yield (), "a link-local address is no place for a tool server"


def _check_disabled(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, bool):
        yield (), "it must be true or false"


def _check_effects(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, dict):
        yield (), "it must be an object of effects by tool"
        return
    for tool, effect in value.items():
        yield from (((tool,), reason) for _, reason in policy_keys.check_effect(effect))


_CHECKS: dict[str, Callable[[Any], Iterator[Complaint]]] = {
    "command": _check_command,
    "args": _check_args,
    "env": _check_secrets,
    "cwd": _check_cwd,
    "url": _check_url,
    "headers": _check_secrets,
    "timeout_seconds": policy_keys.check_seconds,
    "disabled": _check_disabled,
    "effects": _check_effects,
    "max_parallel": policy_keys.check_max_parallel,
    "rate": policy_keys.check_rate,
    "tools": policy_keys.check_tools,
}


def _config(name: str, raw: dict[str, Any]) -> ServerConfig:
    timeout = raw.get("timeout_seconds")
    return ServerConfig(
        name=name,
        transport=_stdio(raw) if "command" in raw else HttpServer(url=raw["url"], headers=raw.get("headers", {})),
        timeout_seconds=None if timeout is None else float(timeout),
        disabled=raw.get("disabled", False),
        effects=policy_keys.effects(raw),
        max_parallel=raw.get("max_parallel", MOST_PARALLEL),
        rate=policy_keys.rate(raw.get("rate")),
        tools=policy_keys.tools(raw),
    )


def _stdio(raw: dict[str, Any]) -> StdioServer:
    command = sys.executable if raw["command"] == "${python}" else raw["command"]
    return StdioServer(command=command, args=tuple(raw.get("args", ())), env=raw.get("env", {}), cwd=raw.get("cwd"))


def _key(place: located_json.Path) -> str:
    return ".".join(str(part) for part in place[1:]) or ".".join(str(part) for part in place) or "file"


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_link_local(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_link_local


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
