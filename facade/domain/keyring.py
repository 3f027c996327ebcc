"""Who calls, by the key that was sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest

from threadmesh.keys.key import ALL_SCOPES, Key, KeyLimits, Scope, digest, id_of

_NOBODYS = digest("")
"""What is compared with where there is no such key, so that this takes as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request.

    `identity` tells keys apart wherever something is kept for one of them alone; `tenant` is whose data may be seen.
    `key_id` is that of a key of the file; empty for any other caller.
    """

    identity: str = ""
    tenant: str = ""
    scopes: frozenset[Scope] = ALL_SCOPES
    limits: KeyLimits = KeyLimits()
    key_id: str = ""


ANYBODY = Caller()
"""Who calls where no keys are set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a key is not taken: `unknown`, `expired` or `revoked`. For the operator; callers are all told the same."""

    why: str
    key_id: str = ""


class Keyring:
    """The keys that are valid here.

    `listed` are keys of the default tenant with all scopes; `kept` are those of which only the hash is known. None for
    `kept` says that no file of them is in use; without any keys then, anybody may call.
    """

    def __init__(self, listed: Iterable[str], kept: Mapping[str, Key] | None = None) -> None:
        self._listed = [digest(token) for token in listed]
        self._kept = kept or {}
        self.open = kept is None and not self._listed

    def caller(self, token: str, *, now: datetime) -> Caller | Refused:
        """Find out who sent a key.

        The key's digest is compared with every listed one and with one of those kept, whatever it is, so that the time
        taken tells nothing about any of them.
        """
        given = digest(token)
        listed = [compare_digest(given, each) for each in self._listed]
        key = self._kept.get(id_of(token))
        matches = compare_digest(given, key.sha256 if key else _NOBODYS)
        if any(listed):
            return Caller(identity=given[:16])
        if key is None or not matches:
            return Refused(why="unknown")
        state = key.state(now)
        return _caller(key) if state == "active" else Refused(why=state, key_id=key.id)

    def limits_of(self, identity: str) -> KeyLimits:
        """Give the limits of a caller by its identity; those that are not set are the facade's."""
        key = self._kept.get(identity.removeprefix("tm_"))
        return key.limits if key is not None and identity == _identity(key) else KeyLimits()


def _caller(key: Key) -> Caller:
    return Caller(identity=_identity(key), tenant=key.tenant, scopes=key.scopes, limits=key.limits, key_id=key.id)


def _identity(key: Key) -> str:
    return f"tm_{key.id}"
