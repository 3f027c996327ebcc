"""What the tests of the servers file write into it."""

import json
from pathlib import Path
from typing import Any

from tools_svc.adapters.server_config import ServerConfig
from tools_svc.adapters.servers_file import read_servers

GOOD = {"command": "npx"}
WEB = {"url": "https://example.com"}
VERIFY: dict[str, Any] = {"tool": "get", "arguments": {"title": {"$from": "/arguments/title"}}, "done": "/found"}


def read(directory: Path, **servers: Any) -> tuple[ServerConfig, ...]:
    """Write a file of these servers and read it."""
    file = directory / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}, indent=1))
    return read_servers(file)
