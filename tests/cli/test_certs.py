"""What `threadmesh certs` makes, what it never does, and what the other commands say of links."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.threadmesh.servicers import Behaving
from tests.wire.links import served
from threadmesh.cli.certs import ALL, ensure, make
from threadmesh.cli.checks import Level
from threadmesh.cli.link_status import LinkStatus, check_certificate, check_exposure, check_links, link_statuses, shown
from threadmesh.cli.plan import make_plan
from threadmesh.cli.targets import Target, files_in, own_link
from threadmesh.links.link import PLAINTEXT, ClientLink, ServerLink
from threadmesh.links.pem import read_certificate
from threadmesh.settings import ConfigurationError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "certificates"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_every_member_gets_a_certificate_of_one_authority(threadmesh: CommandLine, directory: Path) -> None:
    ran = threadmesh("certs", "create", "--dns", "mesh.example", "--ip", "192.168.1.10")

    assert ran.status == 0
    assert "spiffe://threadmesh/tools" in ran.out
    assert str(directory / "ca.key") in ran.err
    assert set(contents(directory)) == {f"{name}.{kind}" for name in ("ca", *ALL) for kind in ("pem", "key")}
    tools, facade = (read_certificate(directory / f"{name}.pem") for name in ("tools", "facade"))
    assert {"tools", "tools.threadmesh.svc", "mesh.example", "192.168.1.10"} <= set(tools.names)
    assert (facade.member, facade.names) == ("facade", ())
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.glob("*.key"))


def test_what_is_there_is_replaced_by_force_only_and_the_authority_never(
    threadmesh: CommandLine, directory: Path
) -> None:
    threadmesh("certs", "create")
    before = contents(directory)

    refused = threadmesh("certs", "create", "tools")
    assert refused.status == 1
    assert "--force" in refused.err
    assert contents(directory) == before

    assert threadmesh("certs", "create", "tools", "--force").status == 0
    after = contents(directory)
    assert {name for name in after if after[name] != before[name]} == {"tools.pem", "tools.key"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nobody"], "'nobody' is no member of the mesh"),
        (["--dns", "not a name"], "'not a name' is no host name"),
        (["--ip", "10.0.0"], "'10.0.0' is no IP address"),
    ],
)
def test_what_cannot_be_certified_is_refused(
    threadmesh: CommandLine, directory: Path, words: list[str], told: str
) -> None:
    ran = threadmesh("certs", "create", *words)

    assert ran.status == 1
    assert told in ran.err
    assert not directory.exists()


def test_certificates_are_shown_with_their_state(threadmesh: CommandLine, directory: Path) -> None:
    assert "there are no certificates" in threadmesh("certs", "show").err
    threadmesh("certs", "create")
    threadmesh("certs", "create", "cli", "--force", "--days", "3")

    found = {each["certificate"]: each for each in json.loads(threadmesh("certs", "show", "--json").out)}

    assert found["cli"]["state"] == "ends soon"
    assert found["tools"]["state"] == "valid"
    assert found["ca"]["identity"] == "-"


def test_a_mesh_renews_at_its_start_what_ends_soon_and_nothing_else(directory: Path) -> None:
    make(directory, ALL)
    make(directory, ["tools"], days=3)
    before = contents(directory)

    ensure(directory)

    after = contents(directory)
    assert {name for name in after if after[name] != before[name]} == {"tools.pem", "tools.key"}


def test_a_plan_with_certificates_gives_each_unit_its_own_unless_it_is_told_otherwise(directory: Path) -> None:
    own = {"TOOLS_LINK_TOKENS_FILE": "/tokens"}
    plan = make_plan(own, data_directory=directory.parent, stop_seconds=1, certificates=directory)
    environment = plan.programs[0].environment

    assert environment["CONTEXT_LINK_CERTIFICATE"] == str(directory / "context.pem")
    assert environment["FACADE_LINK_KEY"] == str(directory / "facade.key")
    assert "TOOLS_LINK_CERTIFICATE" not in environment
    assert all(program.target.link.files == files_in(directory, "cli") for program in plan.programs)
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan


def test_the_command_lines_link_is_what_the_environment_says_then_the_meshs(directory: Path) -> None:
    assert own_link({}, None) == PLAINTEXT
    assert own_link({}, directory).files == files_in(directory, "cli")
    said = own_link({"THREADMESH_LINK_CA": "/ca.pem", "THREADMESH_LINK_TOKEN": "t"}, directory)
    assert (said.files.authorities, said.files.certificate, said.token) == (Path("/ca.pem"), None, "t")
    with pytest.raises(ConfigurationError, match="go together"):
        own_link({"THREADMESH_LINK_CERTIFICATE": "/a.pem"}, None)


async def test_commands_reach_a_unit_over_a_secured_link_and_are_told_when_they_cannot(
    threadmesh: CommandLine, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(directory, ALL)
    async with served(ServerLink(files=files_in(directory, "tools")), Behaving()) as target:  # type: ignore[abstract]  # one method is enough
        monkeypatch.setenv("THREADMESH_LINK_CA", str(directory / "ca.pem"))
        words = ("tools", "call", "any", "--target", target)
        without = await asyncio.to_thread(threadmesh, *words)
        monkeypatch.setenv("THREADMESH_LINK_CERTIFICATE", str(directory / "cli.pem"))
        monkeypatch.setenv("THREADMESH_LINK_KEY", str(directory / "cli.key"))
        reached = await asyncio.to_thread(threadmesh, *words)

    assert without.status == 3
    assert "or does not take this certificate" in without.err
    assert reached.status == 1  # it is reached, and has no catalogue to give
    assert "does not answer" not in reached.err


async def test_the_status_tells_when_the_certificates_that_units_show_end(directory: Path) -> None:
    make(directory, ALL, days=100)
    ends = datetime.now(UTC) + timedelta(days=100)
    async with served(ServerLink(files=files_in(directory, "tools")), Behaving()) as address:  # type: ignore[abstract]  # none of its methods is called
        target = Target(address, link=ClientLink(files=files_in(directory, "cli")), peer="tools")
        tools, own = await link_statuses([target])
        make(directory, ["tools"], days=5)
        (renewed, _) = await link_statuses([target])
        (mistaken, _) = await link_statuses([Target(address, link=target.link, peer="context")])

    assert (tools.member, own.member) == ("tools", "cli")
    assert shown([tools, own]) == f"mTLS (tools until {ends:%Y-%m-%d}, cli until {ends:%Y-%m-%d})"
    assert renewed.ends
    assert renewed.ends < ends - timedelta(days=90)
    assert mistaken.problem.startswith("shows Hostname mismatch")


def test_doctor_warns_before_a_certificate_ends_and_of_a_link_that_nothing_protects(directory: Path) -> None:
    make(directory, ALL)
    path, now = directory / "tools.pem", datetime.now(UTC)

    levels = [check_certificate("tools", path, now=now + timedelta(days=days)).level for days in (1, 360, 366)]
    assert levels == [Level.OK, Level.WARNING, Level.BROKEN]
    assert check_certificate("tools", directory / "absent.pem").level is Level.BROKEN
    links = [
        LinkStatus(member="tools", security="mTLS", ends=now + timedelta(days=2)),
        LinkStatus(member="context", security="mTLS", problem="shows no certificate"),
        LinkStatus(member="inference", security="plaintext"),
    ]
    assert [finding.level for finding in check_links(links)] == [Level.WARNING, Level.BROKEN, Level.OK]
    exposed = check_exposure("tools", "0.0.0.0", insecure=True)
    assert exposed
    assert exposed.level is Level.WARNING
    assert check_exposure("tools", "127.0.0.1", insecure=True) is None
