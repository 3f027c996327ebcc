"""The rules of links: who may call what, which settings are refused, and what files may hold."""

import ast
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from pydantic_settings import SettingsConfigDict
from structlog.testing import capture_logs

from tests.wire.links import Certificates
from threadmesh.api.context.v1 import runs_service_pb2, threads_service_pb2
from threadmesh.api.inference.v1 import inference_service_pb2
from threadmesh.api.tools.v1 import tools_service_pb2
from threadmesh.links import matrix
from threadmesh.links.authority import issue, new_authority, write_pair
from threadmesh.links.credentials import Credentials
from threadmesh.links.link import ClientLink, ServerLink
from threadmesh.links.server import Door
from threadmesh.links.tokens import KnownTokens, OwnToken
from threadmesh.rpc.channel import connect
from threadmesh.rpc.unit import main
from threadmesh.settings import CallerSettings, ConfigurationError, UnitSettings
from threadmesh.telemetry.metrics import LinkMetrics, new_registry
from threadmesh.testing.clock import FakeClock

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, ServiceDescriptor] = {
    service.full_name: service
    for file in (inference_service_pb2, tools_service_pb2, threads_service_pb2, runs_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


def methods(service: str) -> set[str]:
    return {method.name for method in SERVICES[service].methods}


def test_the_table_names_services_and_methods_that_there_are() -> None:
    for table in matrix.MATRIX.values():
        for service, named in table.items():
            if service != matrix.CHANNELZ:
                assert (named or set()) <= methods(service)


@pytest.mark.parametrize("service", SERVICES)
def test_the_facade_may_call_what_it_calls_and_nothing_else(service: str) -> None:
    """Read off its adapters: a method that is missing in the table is refused where links are secured."""
    called = {
        node.attr
        for path in (ROOT / "facade" / "adapters").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert set(matrix.MATRIX["facade"][service] or ()) == called & methods(service)


def test_units_call_nobody_and_operators_everything() -> None:
    for service in SERVICES:
        for method in methods(service):
            assert matrix.allowed("cli", service, method)
            for member in ("inference", "tools", "context", "worker", "stranger", ""):
                assert not matrix.allowed(member, service, method)


def test_health_is_for_members_and_channelz_for_operators() -> None:
    assert all(matrix.allowed(member, matrix.HEALTH, "Check") for member in matrix.MEMBERS)
    assert not matrix.allowed("stranger", matrix.HEALTH, "Check")
    assert [member for member in matrix.MEMBERS if matrix.allowed(member, matrix.CHANNELZ, "GetServers")] == ["cli"]


class SampleSettings(UnitSettings, CallerSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_")


CERTIFICATE = {"link_certificate": "a.pem", "link_key": "a.key"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"listen": "0.0.0.0"}, "SAMPLE_LISTEN: beyond loopback, SAMPLE_LINK_CERTIFICATE"),
        ({"listen": "10.1.2.3", "link_tokens_file": "tokens"}, "SAMPLE_LISTEN: beyond loopback"),
        ({**CERTIFICATE}, "SAMPLE_LINK_CA, or SAMPLE_LINK_TOKENS_FILE, must be set"),
        ({"link_ca": "ca.pem"}, "SAMPLE_LINK_CERTIFICATE must be set with SAMPLE_LINK_CA"),
        ({**CERTIFICATE, "link_ca": "ca.pem", "link_tokens_file": "tokens"}, "by certificates or by tokens"),
    ],
)
def test_a_unit_that_would_not_know_its_callers_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        SampleSettings(**wrong).server_link()


def test_a_certificate_without_its_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_LINK_CERTIFICATE", "a.pem")
    monkeypatch.setenv("SAMPLE_LINK_KEY", "")

    with pytest.raises(ConfigurationError, match="SAMPLE_LINK_CERTIFICATE and SAMPLE_LINK_KEY go together"):
        SampleSettings.load({})


def test_a_unit_in_plaintext_beyond_loopback_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPLE_LISTEN", "0.0.0.0")

    with pytest.raises(SystemExit) as ended:
        main("sample", SampleSettings, _never)

    assert ended.value.code == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sample: configuration: SAMPLE_LISTEN: beyond loopback")


def _never(*_: object) -> Any:
    raise AssertionError("nothing is built")


def test_plaintext_beyond_loopback_is_possible_on_purpose_and_warned_about() -> None:
    link = SampleSettings(listen="0.0.0.0", link_insecure=True).server_link()

    with capture_logs() as lines:
        Door(link, LinkMetrics(new_registry())).announce("0.0.0.0:50052")

    assert [(line["event"], line["log_level"]) for line in lines] == [("link.insecure", "warning")]


async def test_a_caller_does_not_leave_the_machine_unprotected() -> None:
    with pytest.raises(ConfigurationError, match="SAMPLE_LINK_CA must be set to reach tools:50052"):
        connect("tools:50052", SampleSettings(link_token="0123456789abcdef").client_link())
    for target, link in (("unix:/run/tools", ClientLink()), ("tools:50052", ClientLink(insecure=True))):
        async with connect(target, link):
            pass


def test_secrets_of_links_are_shown_nowhere(tmp_path: Path) -> None:
    token = "0123456789-secret-token"
    settings = SampleSettings(link_token=token)

    assert token not in f"{settings.effective()}{settings}{settings.client_link()}"


@pytest.mark.parametrize("content", ["cli", "cli short", "nobody 0123456789abcdef", "cli 0123456789abcdef\n" * 2])
def test_a_file_of_tokens_with_errors_is_refused_without_repeating_them(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(content)

    with pytest.raises(ConfigurationError, match=r"tokens:[12]: ") as caught:
        KnownTokens(file)

    assert "0123456789abcdef" not in caught.value.message


def test_a_file_without_a_token_is_refused(tmp_path: Path) -> None:
    for content in (None, "", "two words of a token"):
        if content is not None:
            (tmp_path / "token").write_text(content)
        with pytest.raises(ConfigurationError, match="token: it "):
            OwnToken(ClientLink(token_file=tmp_path / "token"))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    files = Certificates(tmp_path).files("tools")
    assert files.key
    assert files.certificate
    Certificates(tmp_path / "others").files("tools")
    files.key.write_bytes((tmp_path / "others" / "tools.key").read_bytes())

    with pytest.raises(ConfigurationError, match=r"tools\.key: it is not the key of .*tools\.pem"):
        Credentials(files)

    files.certificate.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"tools\.pem: it holds no certificate"):
        Credentials(files)

    files.certificate.unlink()
    with pytest.raises(ConfigurationError, match=r"tools\.pem: it cannot be read"):
        Door(ServerLink(files=files), LinkMetrics(new_registry()))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, []), (0o640, []), (0o644, ["link.key_open_to_all"])])
def test_a_key_that_everybody_may_read_is_warned_of(tmp_path: Path, mode: int, warned: list[str]) -> None:
    files = Certificates(tmp_path).files("tools")
    assert files.key
    files.key.chmod(mode)

    with capture_logs() as logs:
        Credentials(files)

    assert [each["event"] for each in logs if each["log_level"] == "warning"] == warned


def test_the_end_of_a_certificate_is_told_before_and_when_it_comes_each_once(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    credentials = Credentials(Certificates(tmp_path).files("tools", days=30), clock=clock)
    told: list[list[str]] = []
    for days in (10, 10, 1, 10, 1):
        clock.advance(timedelta(days=days).total_seconds())
        with capture_logs() as lines:
            credentials.current()
        told.append([line["event"] for line in lines])

    assert told == [[], ["link.certificate_expires_soon"], [], ["link.certificate_expired"], []]


def test_a_units_certificate_is_no_callers_and_none_outlives_its_authority() -> None:
    now = datetime.now(UTC)
    authority = new_authority(now, days=10)

    assert issue(authority, "tools", now).certificate.not_valid_after_utc <= authority.certificate.not_valid_after_utc
    with pytest.raises(ConfigurationError, match="the authority has expired"):
        issue(authority, "tools", now + timedelta(days=11))


def test_a_mesh_in_plaintext_does_not_load_what_reads_certificates() -> None:
    code = "import sys, threadmesh.rpc.unit, threadmesh.rpc.channel; print('cryptography' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_only_the_owner_reads_a_key(tmp_path: Path) -> None:
    write_pair(tmp_path / "certificates", "ca", new_authority(datetime.now(UTC)))

    assert (tmp_path / "certificates" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "certificates").stat().st_mode & 0o777 == 0o700
