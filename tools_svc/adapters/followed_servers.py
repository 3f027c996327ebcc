"""The servers that are wanted now, as a file says that may change at any time."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

import structlog

from threadmesh.settings import ConfigurationError
from tools_svc.adapters.file_changes import changes
from tools_svc.adapters.server_config import ServerConfig, StdioServer
from tools_svc.adapters.servers_file import read_capabilities, read_servers
from tools_svc.domain.capability import Capability

log = structlog.get_logger()


def enabled(file: Path) -> dict[str, ServerConfig]:
    """Give the servers that the file does not disable; raises `ConfigurationError` as `read_servers` does."""
    return {each.name: each for each in read_servers(file) if not each.disabled}


async def wanted(
    file: Path,
    servers: Mapping[str, ServerConfig],
    *,
    on_capabilities: Callable[[Sequence[Capability]], None],
    on_problems: Callable[[Sequence[str]], None],
) -> AsyncGenerator[Mapping[str, ServerConfig], None]:
    """Give the servers, and again whenever the file has changed or one of functions. Errors change nothing.

    `on_capabilities` hears of the capabilities that the changed file has, `on_problems` of its errors or that it has
    none.
    """
    yield servers
    watched = [file, *_function_files(servers)]
    async for _ in changes(lambda: watched):
        try:
            servers, capabilities = enabled(file), read_capabilities(file)
        except ConfigurationError as error:
            problems = error.message.splitlines()
            log.error("servers_file.refused", problems=problems)
            on_problems(problems)
        else:
            log.info("servers_file.read", servers=sorted(servers))
            on_problems(())
            watched[1:] = _function_files(servers)
            on_capabilities(capabilities)
            yield servers


def _function_files(servers: Mapping[str, ServerConfig]) -> list[Path]:
    transports = [server.transport for server in servers.values()]
    return [each.functions for each in transports if isinstance(each, StdioServer) and each.functions]
