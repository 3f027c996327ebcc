"""Secrets in the servers file: named there, kept elsewhere."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from threadmesh.errors import MeshError
from threadmesh.telemetry.logs import hide

PLACEHOLDER = re.compile(r"\$\{(?P<kind>[a-z]+):(?P<what>[^}]*)\}")


class SecretMissing(MeshError):
    """A secret named in the servers file cannot be found."""

    reason = "SECRET_MISSING"


def expand(value: str, environment: Mapping[str, str] = os.environ) -> str:
    """Replace `${env:NAME}` and `${file:path}` (its text, without the final line break).

    What was found is hidden in the logs from then on: servers like to repeat what they were given. Raises
    `SecretMissing`, which names the placeholder and never the secret.
    """

    def found(match: re.Match[str]) -> str:
        secret = _look_up(match["kind"], match["what"], environment)
        hide(secret)
        return secret

    return PLACEHOLDER.sub(found, value)


def blank(value: str, gap: str) -> str:
    """Put `gap` in the place of each placeholder."""
    return PLACEHOLDER.sub(gap, value)


def _look_up(kind: str, what: str, environment: Mapping[str, str]) -> str:
    if kind == "env":
        if what not in environment:
            raise SecretMissing(f"the environment variable {what} is not set")
        return environment[what]
    if kind == "file":
        try:
            return Path(what).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretMissing(f"the file {what} cannot be read") from error
    raise SecretMissing(f"${{{kind}:...}} means nothing; write ${{env:NAME}} or ${{file:path}}")
