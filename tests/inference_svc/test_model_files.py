"""Models come from the bundled package, a path or the hub."""

import functools
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from inference_svc.adapters.model_files import fetch, find_model
from threadmesh.links.authority import issue, new_authority, write_pair
from threadmesh.settings import ConfigurationError

CONTENT = bytes(range(256)) * 40


class Hub(BaseHTTPRequestHandler):
    """Serves one file, whole or from a byte on."""

    def __init__(self, asked: list[tuple[str, str]], *args: object) -> None:
        self.asked = asked
        super().__init__(*args)  # type: ignore[arg-type]  # what the server passes on

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.asked.append((self.path, wanted))
        if not self.path.endswith("/tiny.gguf"):
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").removesuffix("-") or 0)
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        self.wfile.write(CONTENT[begin:])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    asked: list[tuple[str, str]] = []
    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, asked))) as port:
        yield f"http://127.0.0.1:{port}", asked


@pytest.mark.model
def test_the_bundled_model_is_found_without_importing_its_package(tmp_path: Path) -> None:
    found = find_model("", models_dir=tmp_path)

    assert found.present
    assert found.name == "smollm2-135m-instruct"


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    (tmp_path / "Qwen2.5-Q4.gguf").write_bytes(b"GGUF")
    found = find_model(str(tmp_path / "Qwen2.5-Q4.gguf"), models_dir=tmp_path)

    assert (found.name, found.present) == ("qwen2.5-q4", True)


@pytest.mark.parametrize(
    "reference", ["/no/such.gguf", "hf:a", "hf:a/b", "hf:a/b/c.bin", "hf:a/../c.gguf", "hf:a//c.gguf"]
)
def test_a_reference_that_means_nothing_is_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="INFERENCE_MODEL"):
        find_model(reference, models_dir=tmp_path)


def test_a_model_of_the_hub_cannot_lie_outside_the_models_directory(tmp_path: Path) -> None:
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    (models / "owner").mkdir(parents=True)
    elsewhere.mkdir()
    (models / "owner" / "repository").symlink_to(elsewhere)
    (elsewhere / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigurationError, match="leads out of the models directory"):
        find_model("hf:owner/repository/tiny.gguf", models_dir=models)


def test_a_models_directory_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "disk")

    assert not find_model("hf:owner/repository/tiny.gguf", models_dir=tmp_path / "models").present


async def test_a_fetched_file_that_is_another_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub() as (url, _):
        monkeypatch.setenv("HF_ENDPOINT", url)
        file = replace(find_model("hf:o/r/tiny.gguf", models_dir=tmp_path), sha256="0" * 64)
        await fetch(file)
    with pytest.raises(ConfigurationError, match="delete it to fetch it again"):
        file.verify()


async def test_a_model_of_the_hub_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub() as (endpoint, asked):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        file = find_model("hf:owner/repo/sub/tiny.gguf", models_dir=tmp_path)
        assert not file.present
        await fetch(file)

    assert asked == [("/owner/repo/resolve/main/sub/tiny.gguf", "")]
    assert file.path.read_bytes() == CONTENT
    assert [each.name for each in file.path.parent.iterdir()] == ["tiny.gguf"]
    assert find_model("hf:owner/repo/sub/tiny.gguf", models_dir=tmp_path).present


@pytest.mark.parametrize("have", [1, 5_000, len(CONTENT)])
async def test_a_download_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, have: int) -> None:
    with hub() as (endpoint, asked):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        file = find_model("hf:owner/repo/tiny.gguf", models_dir=tmp_path)
        file.path.parent.mkdir(parents=True)
        file.path.with_name("tiny.gguf.part").write_bytes(CONTENT[:have])
        await fetch(file)

    assert asked[0][1] == f"bytes={have}-"
    assert file.path.read_bytes() == CONTENT


async def test_a_wrong_reference_says_what_the_hub_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub() as (endpoint, _):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(ConfigurationError, match="answers 404"):
            await fetch(find_model("hf:owner/repo/other.gguf", models_dir=tmp_path))


@contextmanager
def leading_to(location: str) -> Iterator[str]:
    """Serve a hub that leads everybody elsewhere."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("location", location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_hub_may_lead_to_a_server_that_proves_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    authority = new_authority(now)
    write_pair(tmp_path, "ca", authority)
    write_pair(tmp_path, "tools", issue(authority, "tools", now, names=["localhost"]))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tools.pem", tmp_path / "tools.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    asked: list[tuple[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, asked))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with _serving(server) as port, leading_to(f"https://localhost:{port}/cdn/tiny.gguf") as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        file = find_model("hf:owner/repo/tiny.gguf", models_dir=tmp_path)
        await fetch(file)

    assert asked == [("/cdn/tiny.gguf", "")]
    assert file.path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "to", ["https://10.0.0.1/x", "https://127.0.0.1/x", "https://[fd00::1]/x", "http://hub.example/x"]
)
async def test_a_hub_that_leads_inside_or_to_plain_http_is_not_followed(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with leading_to(to) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(ConfigurationError, match="no public https:// address"):
            await fetch(find_model("hf:owner/repo/tiny.gguf", models_dir=tmp_path))


async def test_a_hub_of_plain_http_may_lead_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is asked again and again then, until there are too many redirects."""
    with leading_to("/round/and/round") as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(ConfigurationError, match="TooManyRedirects"):
            await fetch(find_model("hf:owner/repo/tiny.gguf", models_dir=tmp_path))


async def test_without_a_network_one_line_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    file = find_model("hf:owner/repo/tiny.gguf", models_dir=tmp_path)

    with pytest.raises(ConfigurationError, match="put the file at") as caught:
        await fetch(file)

    assert "\n" not in caught.value.message
    assert str(file.path) in caught.value.message
