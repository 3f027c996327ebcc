"""Copies of the bundled model with dequantised weights: made once, whole or not at all."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from inference_svc.adapters.llama_cpp.context import Context, Decoded, Entry
from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError, PreparedModel, fingerprint_of
from inference_svc.adapters.llama_cpp.options import ContextOptions, Device, ModelOptions, WeightsOptions
from inference_svc.adapters.llama_cpp.prepared import NotPreparedError, PreparedCopies
from inference_svc.adapters.llama_cpp.weights import load_weights
from inference_svc.domain.weights import Form
from tests.inference_svc.engines import GREEDY, answered, backend_of, bundled_model, prompt, text_of

BF16_BYTES = 2 * 134_515_008
TEXT = """The lighthouse keeper climbed the stairs every evening, lit the lamp and wrote down what he had seen: ships
that passed, birds that rested, and once a whale. When he was old he read it all again. There were forty books."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the tests share, because a copy takes seconds."""
    return tmp_path_factory.mktemp("prepared")


def loaded(directory: Path, form: Form | None, *, budget: int = 2**40, gpu_layers: int = 0) -> LoadedModel:
    weights = WeightsOptions(form=form, directory=directory, budget=budget)
    options = ModelOptions(name="bundled", threads=1, created=1, device=Device(gpu_layers=gpu_layers), weights=weights)
    return load_weights(bundled_model(), options)


def copy_in(directory: Path, form: Form = Form.BF16) -> Path:
    return PreparedCopies(directory).path(fingerprint_of(bundled_model()), form)


def best_tokens(model: LoadedModel, tokens: Sequence[int]) -> list[int]:
    """Give what the model finds the likeliest after each token."""
    size = ContextOptions(cells=256, slots=1, rows=1, batch=32, threads=1)
    best = []
    with closing(Context(model, size)) as context:
        for position, token in enumerate(tokens):
            entry = Entry(sequence=0, position=position, tokens=[token], wanted=1)
            assert context.decode([entry])[0] is Decoded.DONE
            logits = native.llama_get_logits_ith(context.handle, -1)
            best.append(int(np.ctypeslib.as_array(logits, (model.vocabulary,)).argmax()))
    return best


@pytest.mark.model
def test_dequantised_weights_say_what_those_of_the_file_say(prepared: Path) -> None:
    with closing(LoadedModel(bundled_model())) as file, closing(loaded(prepared, Form.BF16)) as copy:
        tokens = file.tokenize(TEXT, special=False)
        pairs = list(zip(best_tokens(file, tokens), best_tokens(copy, tokens), strict=True))

        assert copy.form is Form.BF16
        assert 0.8 * BF16_BYTES <= copy.size.bytes < BF16_BYTES
    assert len(pairs) > 40
    assert sum(one == other for one, other in pairs) >= 0.85 * len(pairs)


@pytest.mark.model
async def test_dequantised_weights_are_served_under_a_fingerprint_of_their_own(prepared: Path) -> None:
    weights = WeightsOptions(form=Form.BF16, directory=prepared)
    with ThreadPoolExecutor(1) as worker:
        backend, _ = worker.submit(backend_of, weights=weights, context_tokens=256).result()
    described = backend.describe()
    events = await answered(backend, prompt("What is the capital of France?", max_tokens=12, sampling=GREEDY))
    await backend.close()

    assert "Paris" in text_of(events)
    assert described.details["weights"] == "bf16"
    assert described.fingerprint == f"{fingerprint_of(bundled_model())}-bf16"


@pytest.mark.model
def test_a_copy_is_made_once_also_where_several_start_at_once(tmp_path: Path) -> None:
    with capture_logs() as lines, ThreadPoolExecutor(3) as starts:
        models = list(starts.map(lambda _: loaded(tmp_path, Form.BF16), range(3)))
    loaded(tmp_path, Form.BF16).close()

    assert [model.form for model in models] == [Form.BF16] * 3
    assert sum(line["event"] == "weights.preparing" and "of" not in line for line in lines) == 1
    for model in models:
        model.close()


@pytest.mark.model
def test_a_copy_that_is_cut_is_made_anew(tmp_path: Path) -> None:
    loaded(tmp_path, Form.BF16).close()
    whole = copy_in(tmp_path).stat().st_size
    with copy_in(tmp_path).open("r+b") as file:
        file.truncate(whole // 2)

    with closing(loaded(tmp_path, Form.BF16)) as model:
        assert model.form is Form.BF16
    assert copy_in(tmp_path).stat().st_size == whole


@pytest.mark.model
@pytest.mark.parametrize("form", [Form.BF16, None])
def test_where_nothing_can_be_written_weights_are_as_in_the_file(tmp_path: Path, form: Form | None) -> None:
    (tmp_path / "file").touch()
    with capture_logs() as lines, closing(loaded(tmp_path / "file" / "prepared", form)) as model:
        assert model.form is Form.FILE
        assert model.fingerprint() == fingerprint_of(bundled_model())
    assert [line["log_level"] for line in lines if line["event"] == "weights.as_in_the_file"] == ["warning"]


@pytest.mark.model
def test_a_disk_that_would_be_too_full_is_left_alone(tmp_path: Path) -> None:
    copies = PreparedCopies(tmp_path, spare_bytes=2**60)
    with copies.alone(), pytest.raises(NotPreparedError, match="free"):
        copies.make(bundled_model(), tmp_path / "copy.gguf", form=Form.BF16, size=1, threads=1)

    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


def test_what_cannot_be_converted_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "no.gguf"
    source.write_bytes(b"GGUF and then nothing")
    copies = PreparedCopies(tmp_path / "prepared")
    with copies.alone(), pytest.raises(NotPreparedError):
        copies.make(source, copies.path("f", Form.BF16), form=Form.BF16, size=1, threads=1)

    assert [each.name for each in (tmp_path / "prepared").iterdir()] == [".lock"]


def test_what_a_killed_process_left_half_made_is_removed(tmp_path: Path) -> None:
    copies = PreparedCopies(tmp_path)
    (tmp_path / "f-bf16.gguf.part").touch()
    (tmp_path / "f-f16.gguf").touch()
    with copies.alone():
        assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", "f-f16.gguf"]


def test_only_one_prepares_at_a_time(tmp_path: Path) -> None:
    copies = PreparedCopies(tmp_path)
    with copies.alone(), pytest.raises(NotPreparedError), copies.alone(seconds=0):
        pass
    with copies.alone(seconds=0):
        assert (tmp_path / ".lock").exists()


@pytest.mark.model
def test_forms_are_measured_once_and_anew_where_the_choice_is_lost(tmp_path: Path) -> None:
    def measured() -> tuple[Form, bool]:
        with capture_logs() as lines, closing(loaded(tmp_path, None)) as model:
            return model.form, any(line["event"] == "weights.chosen" for line in lines)

    form, anew = measured()
    assert anew
    assert sorted(tmp_path.glob("*.gguf")) == ([] if form is Form.FILE else [copy_in(tmp_path, form)])
    assert measured() == (form, False)

    next(tmp_path.glob("*.json")).write_text("{")
    assert measured()[1]


@pytest.mark.model
@pytest.mark.parametrize("chosen", [{"budget": BF16_BYTES - 1}, {"gpu_layers": 1}])
def test_weights_that_must_stay_are_not_even_measured(tmp_path: Path, chosen: dict[str, int]) -> None:
    with closing(loaded(tmp_path / "prepared", None, **chosen)) as model:
        assert model.form is Form.FILE
    assert not (tmp_path / "prepared").exists()


@pytest.mark.model
def test_the_copy_of_another_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "copy.gguf").write_bytes(b"<html>")
    with pytest.raises(ModelFileError):
        PreparedModel(tmp_path / "copy.gguf", source=bundled_model(), form=Form.BF16, device=Device())
