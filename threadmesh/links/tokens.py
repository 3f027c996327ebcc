"""Bearer tokens of links: the one that a caller sends, and those that a server knows."""

import hmac
from collections.abc import Mapping
from pathlib import Path

from threadmesh.links.files import FollowedFiles
from threadmesh.links.link import ClientLink
from threadmesh.links.matrix import MEMBERS
from threadmesh.settings import ConfigurationError

LEAST = 16
"""Characters of the shortest token; `openssl rand -hex 32` gives 64."""


class OwnToken:
    """The token that a caller sends."""

    def __init__(self, link: ClientLink) -> None:
        """Raises `ConfigurationError` for a file that holds none."""
        self._token = link.token
        path = link.token_file
        self._followed = None if path is None else FollowedFiles((path,), lambda: _read_token(path))

    def current(self) -> str:
        """Give it as it is now; empty if there is none."""
        return self._token if self._followed is None else self._followed.current()


class KnownTokens:
    """The tokens that a server accepts, and whose each is: lines of `<member> <token>` in a file."""

    def __init__(self, path: Path) -> None:
        """Raises `ConfigurationError` for a file that is not such."""
        self._followed = FollowedFiles((path,), lambda: _read_tokens(path))

    def member(self, token: str) -> str:
        """Give the member whose token this is, empty if it is nobody's, in a time that tells nothing about it."""
        found = ""
        for known, member in self._followed.current().items():
            if hmac.compare_digest(known.encode(), token.encode()):
                found = member
        return found


def _read_token(path: Path) -> str:
    token = _text(path).strip()
    if len(token) < LEAST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{path}: it holds no token of at least {LEAST} characters")
    return token


def _read_tokens(path: Path) -> Mapping[str, str]:
    tokens: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or len(words[1]) < LEAST or words[1] in tokens:
            raise ConfigurationError(f"{path}:{number}: write `<member> <token>`, each token once, {LEAST} characters")
        if words[0] not in MEMBERS:
            raise ConfigurationError(f"{path}:{number}: no such member; there are {', '.join(MEMBERS)}")
        tokens[words[1]] = words[0]
    return tokens


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: it cannot be read as UTF-8 text") from error
