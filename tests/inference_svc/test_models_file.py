"""The models file is read strictly: what is wrong with it stops the start, in one line with its place."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.models_file import ConfiguredModel, _Model, read_models
from inference_svc.app import app, inspected
from inference_svc.configuration import options_of
from inference_svc.settings import PER_MODEL, InferenceSettings
from tests.inference_svc.engines import bundled_model
from tests.inference_svc.gguf_file import Short
from tests.inference_svc.tiny_models import RANK, tiny_adapter, tiny_decoder, tiny_encoder
from threadmesh.clock import SystemClock
from threadmesh.settings import ConfigurationError

FIELDS = {name: InferenceSettings.model_fields[name] for name in PER_MODEL}


def read(folder: Path, text: str) -> tuple[ConfiguredModel, ...]:
    path = folder / "models.toml"
    path.write_text(text)
    return read_models(path, models_dir=folder / "hub", overridable=FIELDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model of each kind and an adapter."""
    tiny_decoder(tmp_path / "chat.gguf")
    tiny_encoder(tmp_path / "embedder.gguf")
    tiny_adapter(tmp_path / "adapter.gguf", 1)
    return tmp_path


def test_models_are_read_in_the_order_of_the_file(folder: Path) -> None:
    (folder / "sub").mkdir()
    tiny_decoder(folder / "sub" / "other.gguf")
    first, second, third = read(
        folder,
        """
[models.talker]
path = "chat.gguf"
context_tokens = 32
temperature = 1
keep_seconds = 60

[models.talker.adapters.pirate]
path = "adapter.gguf"
scale = 0.5

[models."other-2.5:q4"]
path = "sub/other.gguf"
load = "start"
rope_override = true

[models.vectors]
path = "hf:owner/repo/vectors.gguf"
kind = "embedding"
""",
    )

    assert (first.name, first.file.path, first.lazy, first.keep_seconds) == ("talker", folder / "chat.gguf", False, 60)
    assert first.overrides == {"context_tokens": 32, "temperature": 1}
    [adapter] = first.adapters
    assert (adapter.name, adapter.path, adapter.scale) == ("pirate", folder / "adapter.gguf", 0.5)
    assert (second.name, second.lazy, second.rope_override) == ("other-2.5:q4", False, True)
    assert (third.kind, third.lazy, third.file.present) == ("embedding", True, False)
    assert third.file.path == folder / "hub" / "owner" / "repo" / "vectors.gguf"


@pytest.mark.model
def test_the_bundled_model_has_a_name_in_the_file(folder: Path) -> None:
    [model] = read(folder, '[models.small]\npath = "bundled"\nload = "lazy"\n')

    assert (model.name, model.bundled, model.lazy) == ("small", True, True)
    assert model.file.path == bundled_model()


A = '[models.a]\npath = "chat.gguf"\n'

WRONG: list[tuple[str, int, str, str]] = [
    ("", 1, "models", "at least one table"),
    ("models = 1", 1, "models", "at least one table"),
    ("[models.a]\npath = = 1", 2, "file", "Invalid"),
    (A + A, 3, "file", "declare"),
    (A + "[other]", 3, "other", "no such key"),
    (A + "colour = 1", 3, "models.a.colour", "no such key"),
    ("[models.a]\npath = 'chat.gguf'\n[models.a.5]\nx = 1", 3, "models.a.5", "in quotes"),
    ("[models]\na = 1", 2, "models.a", "must be a table"),
    ("[models.a]\nkind = 'chat'", 1, "models.a.path", "missing"),
    (A + "kind = 'image'", 3, "models.a.kind", "'chat' or 'embedding'"),
    (A + "load = 'never'", 3, "models.a.load", "'start' or 'lazy'"),
    (A + "keep_seconds = -1", 3, "models.a.keep_seconds", "greater than or equal to 0"),
    (A + "keep_seconds = inf", 3, "models.a.keep_seconds", "finite"),
    (A + "threads = '2'", 3, "models.a.threads", "integer"),
    (A + "threads = true", 3, "models.a.threads", "integer"),
    (A + "sequences = 0", 3, "models.a.sequences", "greater than or equal to 1"),
    (A + "temperature = 9", 3, "models.a.temperature", "less than or equal to 2"),
    (A + "\n[models.A]\npath = 'chat.gguf'", 4, "models.A", "too much like that of models.a"),
    (A + "[models.a.adapters.a]\npath = 'adapter.gguf'", 3, "models.a.adapters.a", "too much like that of models.a"),
    ("[models.'a b']\npath = 'chat.gguf'", 1, "models.a b", "made of letters"),
    (A + "[models.a.adapters.b]\npath = 'gone.gguf'", 4, "models.a.adapters.b.path", "there is no file"),
    (A + "[models.a.adapters.b]\nscale = 1", 3, "models.a.adapters.b.path", "missing"),
    (A + "[models.a.adapters.b]\npath = 'adapter.gguf'\nscale = nan", 5, "models.a.adapters.b.scale", "finite"),
    (A + "sha256 = 'abc'", 3, "models.a.sha256", "should match pattern"),
    ("[models.a]\npath = 'hf:nonsense'", 2, "models.a.path", "hub reference"),
    ("[models.a]\npath = 'gone.gguf'", 2, "models.a.path", "there is no file"),
    ("[models.a]\npath = '.'", 2, "models.a.path", "directory"),
    ("[models.a]\npath = 'empty.gguf'", 2, "models.a.path", "is empty"),
    ("[models.a]\npath = 'pointer.gguf'", 2, "models.a.path", "Git LFS pointer"),
]


@pytest.mark.parametrize(("text", "line", "key", "reason"), WRONG)
def test_what_is_wrong_is_told_in_one_line_with_its_place(
    folder: Path, text: str, line: int, key: str, reason: str
) -> None:
    (folder / "empty.gguf").touch()
    (folder / "pointer.gguf").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)

    assert caught.value.message.startswith(f"{folder / 'models.toml'}:{line}: {key}: ")
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, A + "colour = 1\nqueue = -1\n")

    assert [line.split(": ")[1] for line in caught.value.message.splitlines()] == ["models.a.queue", "models.a.colour"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * 2_000_000])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "models.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"models\.toml:1: file: it"):
        read_models(path, models_dir=tmp_path, overridable=FIELDS)


def test_a_byte_order_mark_and_tabs_are_read_over(folder: Path) -> None:
    assert len(read(folder, "\ufeff\t[models.a]\n\tpath\t=\t'chat.gguf'\n")) == 1


BROKEN = "{% for message in messages %}"

UNUSABLE: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda path: path.write_bytes(b"GGUF and then nothing"), "", "not a usable GGUF file"),
    (lambda path: tiny_decoder(path, general__architecture="strange"), "", "unknown model architecture"),
    (lambda path: tiny_encoder(path, pooling=RANK), "", "ranks texts"),
    (lambda path: tiny_decoder(path, template=BROKEN), "", "chat template is not valid"),
    (tiny_encoder, "kind = 'chat'", "makes embeddings"),
    (tiny_encoder, "context_tokens = 65", "65 context_tokens are more than the 64"),
    (tiny_encoder, "context_tokens = 65\nrope_override = true", "65 context_tokens are more"),
    (tiny_decoder, "context_tokens = 65", "65 context_tokens are more than the 64"),
    (tiny_decoder, f"sha256 = '{'0' * 64}'", rf"the SHA-256 of .* is [0-9a-f]{{64}}, not {'0' * 64}$"),
    (tiny_encoder, "[models.a.adapters.b]\npath = 'adapter.gguf'", "takes no adapters"),
]


@pytest.mark.parametrize(("make", "more", "reason"), UNUSABLE)
async def test_a_model_that_cannot_be_served_stops_the_start(
    folder: Path, make: Callable[[Path], object], more: str, reason: str
) -> None:
    make(folder / "model.gguf")
    path = folder / "models.toml"
    path.write_text(f"[models.a]\npath = 'model.gguf'\n{more}\n")
    with pytest.raises(ConfigurationError, match=reason) as caught:
        async with app(InferenceSettings(models_file=str(path), port=0, metrics_port=0), CollectorRegistry()):
            pass

    assert caught.value.message.startswith(f"{path}:2: models.a.path: ")
    assert "\n" not in caught.value.message


@pytest.mark.skipif(native.llama_supports_gpu_offload(), reason="there is a GPU")
@pytest.mark.parametrize("layers", [-1, 10])
async def test_layers_for_a_gpu_that_is_not_there_stop_the_start(folder: Path, layers: int) -> None:
    tiny_decoder(folder / "model.gguf")
    path = folder / "models.toml"
    path.write_text(f"[models.a]\npath = 'model.gguf'\ngpu_layers = {layers}\n")
    with pytest.raises(ConfigurationError, match=r"models\.a\.path: gpu_layers .* no GPU"):
        async with app(InferenceSettings(models_file=str(path), port=0, metrics_port=0), CollectorRegistry()):
            pass


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_a_file_with_the_right_digest_is_served(folder: Path, change: Callable[[str], str]) -> None:
    tiny_decoder(folder / "chat.gguf")
    digest = change(hashlib.sha256((folder / "chat.gguf").read_bytes()).hexdigest())
    [model] = read(folder, A + f"sha256 = '{digest}'\n")

    assert inspected(model, options_of(InferenceSettings(), model, SystemClock())).trained_tokens == 64


async def test_a_model_in_pieces_needs_all_of_them(folder: Path) -> None:
    tiny_decoder(folder / "big-00001-of-00002.gguf", split__count=Short(2), split__no=Short(0))
    path = folder / "models.toml"
    path.write_text("[models.a]\npath = 'big-00001-of-00002.gguf'\n")
    with pytest.raises(ConfigurationError, match=r"models\.a\.path: .*big-00002-of-00002\.gguf"):
        async with app(InferenceSettings(models_file=str(path), port=0, metrics_port=0), CollectorRegistry()):
            pass


def test_a_context_beyond_the_training_needs_a_word(folder: Path) -> None:
    [model] = read(folder, A + "context_tokens = 128\nrope_override = true\n")
    settings = InferenceSettings(context_tokens=128)

    assert inspected(model, options_of(settings, model, SystemClock())).trained_tokens == 64


def test_a_model_without_a_template_is_served_with_a_warning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [model] = read(folder, A)
    facts = inspected(model, options_of(InferenceSettings(), model, SystemClock()))

    assert facts.template == ""
    assert "model.without_template" in capsys.readouterr().out


def test_the_page_on_models_names_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()

    assert [name for name in (*_Model.model_fields, *PER_MODEL) if f"`{name}`" not in page] == ["adapters"]
    assert "adapters.<adapter>]" in page
