"""Who may call what over links whose callers are known by tokens."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.threadmesh.servicers import Behaving
from tests.wire.links import Certificates, approve, calling, served, watch
from threadmesh.errors import CallerUnknown, MethodRefused
from threadmesh.links.link import PLAINTEXT, ClientLink, ServerLink
from threadmesh.rpc.channel import translated

OPERATOR = "operators-0123456789abcdef"
FACADE = "the-facades-0123456789abcdef"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"# who calls\ncli {OPERATOR}\nfacade {FACADE}\n")
    return file


@pytest.fixture
def servicer() -> Behaving:
    return Behaving()  # type: ignore[abstract]  # the tests need two of its methods


@pytest.fixture
async def target(tokens: Path, servicer: Behaving) -> AsyncIterator[str]:
    """A tools service on loopback, in plaintext, that knows its callers by tokens."""
    async with served(ServerLink(tokens_file=tokens), servicer) as address:
        yield address


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with capture_logs() as lines:
        yield lines


def write(file: Path, line: str) -> None:
    file.write_text(f"{line}\n")


async def test_a_member_may_call_what_the_table_gives_it(target: str) -> None:
    async with calling(target, ClientLink(token=OPERATOR)) as channel:
        await approve(channel)
        assert await watch(channel) == [1, 2, 3]


async def test_a_right_token_with_a_wrong_method_is_refused(target: str) -> None:
    async with calling(target, ClientLink(token=FACADE)) as channel:
        with pytest.raises(MethodRefused) as caught:
            await approve(channel)
    assert caught.value.facts["caller"] == "facade"


@pytest.mark.parametrize(
    ("link", "problem"),
    [(PLAINTEXT, "no token"), (ClientLink(token="somebody-elses-0123456789"), "unknown token")],
)
async def test_a_missing_and_a_wrong_token_are_refused_and_the_log_says_why_without_it(
    target: str, link: ClientLink, problem: str, logged: list[EventDict], servicer: Behaving
) -> None:
    async with calling(target, link) as channel:
        with pytest.raises(CallerUnknown):
            await approve(channel, "hangs")
        with pytest.raises(CallerUnknown):
            await watch(channel)
        with pytest.raises(CallerUnknown):
            async with translated("tools"):
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)

    assert not servicer.called.is_set()
    assert [line["problem"] for line in logged if line["event"] == "link.refused"] == [problem] * 3
    assert "somebody" not in str(logged)


async def test_tokens_are_replaced_while_both_ends_run(target: str, tokens: Path, tmp_path: Path) -> None:
    mine = tmp_path / "token"
    write(mine, OPERATOR)
    async with calling(target, ClientLink(token_file=mine)) as channel:
        await approve(channel)
        write(tokens, "cli another-0123456789abcdef")
        with pytest.raises(CallerUnknown):
            await approve(channel)
        write(mine, "another-0123456789abcdef")
        await approve(channel)


async def test_tokens_travel_over_tls_where_callers_have_no_certificates(
    tokens: Path, tmp_path: Path, servicer: Behaving
) -> None:
    certificates = Certificates(tmp_path / "certificates")
    files = certificates.files("tools")
    link = ServerLink(files=type(files)(certificate=files.certificate, key=files.key), tokens_file=tokens)
    async with served(link, servicer) as target:
        async with calling(target, ClientLink(files=certificates.trust_only(), token=OPERATOR)) as channel:
            await approve(channel)
        async with calling(target, ClientLink(files=certificates.trust_only())) as channel:
            with pytest.raises(CallerUnknown):
                await approve(channel)
