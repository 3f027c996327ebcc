"""Who a caller is, by the key that was sent; whatever is wrong with a key costs the same work."""

import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from facade.domain import keyring as module
from facade.domain.keyring import Caller, Keyring, Refused
from threadmesh.keys.key import ALL_SCOPES, Key, KeyLimits, Scope, digest, id_of, new_token

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TOKENS = {name: new_token() for name in ("bot", "old", "leaked")}


def key(token: str, **known: Any) -> Key:
    return Key(id=id_of(token), sha256=digest(token), created=NOW, **known)


KEYS = {
    each.id: each
    for each in (
        key(TOKENS["bot"], tenant="home", scopes=frozenset({Scope.CHAT}), limits=KeyLimits(requests_per_minute=7)),
        key(TOKENS["old"], expires=NOW - timedelta(seconds=1)),
        key(TOKENS["leaked"], revoked=NOW),
    )
}
RING = Keyring(["listed-key"], KEYS)
WRONG = {
    "unknown": new_token(),
    "a wrong secret": TOKENS["bot"][:-1] + ("0" if TOKENS["bot"][-1] != "0" else "1"),
    "malformed": "tm_not_a_key",
    "empty": "",
    "not text": "\udcff\x00",
    "injected": "tm_' OR 1=1 --_",
    "expired": TOKENS["old"],
    "revoked": TOKENS["leaked"],
}


def test_a_key_of_the_file_stands_for_its_tenant_with_its_scopes() -> None:
    caller = RING.caller(TOKENS["bot"], now=NOW)

    assert isinstance(caller, Caller)
    assert (caller.tenant, caller.scopes) == ("home", frozenset({Scope.CHAT}))
    assert caller.limits == RING.limits_of(caller.identity) == KeyLimits(requests_per_minute=7)


def test_a_listed_key_belongs_to_the_default_tenant_with_all_scopes() -> None:
    caller = RING.caller("listed-key", now=NOW)

    assert isinstance(caller, Caller)
    assert (caller.tenant, caller.scopes, caller.limits) == ("", ALL_SCOPES, KeyLimits())


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG.keys())
def test_anything_else_is_refused(token: str) -> None:
    assert isinstance(RING.caller(token, now=NOW), Refused)


def test_the_operator_is_told_what_was_wrong_and_with_which_key() -> None:
    assert RING.caller(TOKENS["old"], now=NOW) == Refused(why="expired", key_id=id_of(TOKENS["old"]))
    assert RING.caller(TOKENS["leaked"], now=NOW) == Refused(why="revoked", key_id=id_of(TOKENS["leaked"]))
    assert RING.caller(WRONG["a wrong secret"], now=NOW) == Refused(why="unknown")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the length of everything that is compared."""
    done: list[int] = []

    def noting(left: str, right: str) -> bool:
        done.append(len(left) + len(right))
        return hmac.compare_digest(left, right)

    monkeypatch.setattr(module, "compare_digest", noting)
    return done


def test_every_key_whether_right_or_wrong_is_compared_as_often_and_in_full(work: list[int]) -> None:
    for token in (TOKENS["bot"], "listed-key", *WRONG.values()):
        work.clear()
        RING.caller(token, now=NOW)
        assert work == [128, 128], token


@pytest.mark.parametrize(
    ("ring", "is_open"),
    [(Keyring([]), True), (Keyring(["a"]), False), (Keyring([], {}), False), (Keyring([], KEYS), False)],
)
def test_anybody_may_call_only_where_no_keys_are_in_use(ring: Keyring, is_open: bool) -> None:
    assert ring.open is is_open


def test_no_key_of_the_file_is_taken_for_a_listed_one() -> None:
    listed = RING.caller("listed-key", now=NOW)
    kept = RING.caller(TOKENS["bot"], now=NOW)

    assert isinstance(listed, Caller)
    assert isinstance(kept, Caller)
    assert kept.identity.startswith("tm_")
    assert not listed.identity.startswith("tm_")
    assert RING.limits_of(id_of(TOKENS["bot"])) == KeyLimits()
