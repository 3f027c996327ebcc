"""API keys: how they look, what is kept of one, and what it may do.

A key is `tm_<id>_<secret>`: 12 hexadecimal digits by which it is found, and 64 that are 256 random bits. Only the
SHA-256 of the whole is kept. A slow hash would add nothing: it makes guessing expensive where secrets can be guessed.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

TENANT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""How tenants are named, as a regular expression; the default tenant has the empty name."""
_TOKEN = re.compile(r"tm_([0-9a-f]{12})_[0-9a-f]{64}")


class Scope(StrEnum):
    """What a key may be used for."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    MODELS_READ = "models.read"
    RUNS_READ = "runs.read"
    RUNS_WRITE = "runs.write"
    THREADS = "threads"
    TOOLS = "tools"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How much a key may do. None leaves it to the settings of the facade, 0 is no limit.

    `concurrent_streams` are answers that are waited for or read at one moment, streamed or not. `stored_bytes` are
    those of all that the key's tenant has stored, whichever key stored it.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tool_calls_per_minute: int | None = None
    concurrent_streams: int | None = None
    stored_bytes: int | None = None

    def over(self, defaults: "KeyLimits") -> "KeyLimits":
        """Give these limits, and the defaults where they say nothing."""
        chosen = {each.name: _first(getattr(self, each.name), getattr(defaults, each.name)) for each in fields(self)}
        return KeyLimits(**chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is kept of a key: the SHA-256 of it in hexadecimal digits, whose it is, and what it may do until when."""

    id: str
    sha256: str
    name: str = ""
    tenant: str = ""
    scopes: frozenset[Scope] = ALL_SCOPES
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    limits: KeyLimits = KeyLimits()

    def state(self, now: datetime) -> str:
        """Say whether it is `active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


def new_token() -> str:
    """Make a key that nobody can guess."""
    return f"tm_{secrets.token_hex(6)}_{secrets.token_hex(32)}"


def id_of(token: str) -> str:
    """Give the id in a key; empty for what does not look like one."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else ""


def digest(token: str) -> str:
    """Give what is kept of a key; whatever a client may have sent has one."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
