"""The keys file: read strictly, with the place of everything that is wrong; changed at once, for its owner alone."""

import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from threadmesh.keys.file import KeyNotFound, add_key, parse_keys, read_keys, revoke_key
from threadmesh.keys.key import Key, KeyLimits, Scope, digest, id_of, new_token
from threadmesh.settings import ConfigurationError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HASH = "ab" * 32
GOOD = f'[keys.0123456789ab]\nsha256 = "{HASH}"\ncreated = 2026-01-01T00:00:00Z\n'


def made(**changed: object) -> tuple[str, Key]:
    token = new_token()
    return token, Key(**{"id": id_of(token), "sha256": digest(token), "created": NOW, **changed})  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.toml"


def test_what_is_written_is_read_again(file: Path) -> None:
    _, plain = made()
    _, full = made(
        name='the "bot" \\ Grüße',
        tenant="family",
        scopes=frozenset({Scope.CHAT, Scope.RUNS_READ}),
        expires=NOW + timedelta(days=90),
        revoked=NOW,
        limits=KeyLimits(requests_per_minute=60, concurrent_streams=0),
    )
    add_key(file, plain)
    add_key(file, full)

    assert read_keys(file) == {plain.id: plain, full.id: full}


def test_a_key_has_256_bits_and_its_file_only_the_hash(file: Path) -> None:
    token, key = made()
    add_key(file, key)
    secret = token.rpartition("_")[2]

    assert len(bytes.fromhex(secret)) == 32
    assert secret not in file.read_text()
    assert key.sha256 == hashlib.sha256(token.encode()).hexdigest()


def test_the_file_is_its_owners_alone_also_after_a_change(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(GOOD)
    file.chmod(0o644)
    add_key(file, made()[1])

    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["keys.toml"]


def test_a_change_keeps_comments_and_a_broken_file_is_not_touched(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f"# ours\n{GOOD}")
    revoke_key(file, "0123456789ab", now=NOW)

    assert file.read_text().startswith("# ours\n")
    assert read_keys(file)["0123456789ab"].revoked == NOW

    file.write_text("[keys")
    with pytest.raises(ConfigurationError):
        add_key(file, made()[1])
    assert file.read_text() == "[keys"


def test_revoking_is_done_once_and_only_of_what_is_there(file: Path) -> None:
    _, key = made()
    add_key(file, key)

    assert revoke_key(file, key.id, now=NOW)
    assert not revoke_key(file, key.id, now=NOW + timedelta(days=1))
    assert read_keys(file)[key.id].revoked == NOW
    with pytest.raises(KeyNotFound):
        revoke_key(file, "ffffffffffff", now=NOW)


def test_keys_that_are_made_at_the_same_time_are_all_kept(file: Path) -> None:
    keys = [made()[1] for _ in range(16)]
    threads = [threading.Thread(target=add_key, args=(file, key)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert read_keys(file).keys() == {key.id for key in keys}


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("[keys", ":1: file", "Expected"),
        (f"x = 1\n{GOOD}", ":1: x", "no such key"),
        ("keys = 1\n", ":1: keys", "tables"),
        (GOOD.replace("0123456789ab", "bot"), ":1: keys.bot", "12 hexadecimal digits"),
        (GOOD.replace(HASH, HASH[1:]), ":2: keys.0123456789ab.sha256", "pattern"),
        (GOOD.replace("created", "made"), ":1: keys.0123456789ab.created", "missing"),
        (GOOD.replace("00Z", "00"), ":3: keys.0123456789ab.created", "timezone"),
        (f'{GOOD}scopes = ["chat", "fly"]\n', ":4: keys.0123456789ab.scopes.1", "'chat'"),
        (f'{GOOD}tenant = "a/b"\n', ":4: keys.0123456789ab.tenant", "pattern"),
        (f"{GOOD}limits = {{ requests_per_minute = -1 }}\n", ":4: keys.0123456789ab.limits", "greater"),
        (f"{GOOD}secret = 1\n", ":4: keys.0123456789ab.secret", "no such key"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, place: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_keys(text, Path("keys.toml"))

    assert f"keys.toml{place}" in caught.value.message
    assert why in caught.value.message


def test_a_file_that_cannot_be_read_says_so(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_keys(file)


@pytest.mark.parametrize("text", ["", "tm_", "sk-abc", "tm_0123456789ab_12", f"tm_0123456789ab_{'0' * 64} "])
def test_what_does_not_look_like_a_key_has_no_id_but_a_digest(text: str) -> None:
    assert id_of(text) == ""
    assert len(digest(text)) == 64


def test_a_key_ends_by_time_and_by_revocation() -> None:
    key = made(expires=NOW)[1]

    assert key.state(NOW - timedelta(seconds=1)) == "active"
    assert key.state(NOW) == "expired"
    assert made(revoked=NOW)[1].state(NOW - timedelta(days=1)) == "revoked"


def test_limits_of_a_key_go_before_those_of_all() -> None:
    limits = KeyLimits(requests_per_minute=0, tokens_per_minute=5).over(
        KeyLimits(requests_per_minute=9, tokens_per_minute=9, concurrent_streams=9)
    )

    assert limits == KeyLimits(requests_per_minute=0, tokens_per_minute=5, concurrent_streams=9)
