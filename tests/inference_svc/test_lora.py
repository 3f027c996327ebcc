"""An adapter changes what its base model says, for those who ask for it and for nobody else."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from inference_svc.adapters.adapted_backend import AdaptedBackend
from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.model import ModelFileError, fingerprint_of
from inference_svc.adapters.llama_cpp.options import AdapterFile, ModelOptions
from inference_svc.domain.ports import Backend
from tests.inference_svc.engines import GREEDY, Watcher, answered, bundled_model, end_of, prompt, text_of
from tests.inference_svc.gguf_file import Value
from tests.inference_svc.tiny_models import tiny_adapter
from threadmesh.errors import Unsupported

pytestmark = pytest.mark.model

QUESTION = "Count to five."
"""With these adapters every token of its answers is likelier than the next by more than rounding can change."""

Models = dict[str, Backend]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> tuple[AdapterFile, ...]:
    folder = tmp_path_factory.mktemp("adapters")
    return tuple(
        AdapterFile(name=name, path=tiny_adapter(folder / f"{name}.gguf", seed), scale=1.5)
        for seed, name in enumerate(("left", "right"), start=1)
    )


@pytest.fixture
async def models(adapters: tuple[AdapterFile, ...]) -> AsyncIterator[Models]:
    """The bundled model and two adapters of it on one engine, by name; the base model is `base`."""
    options = ModelOptions(
        name="base", threads=1, created=1, context_tokens=512, cells=1024, sequences=3, adapters=adapters
    )
    base = LlamaCppBackend(options, observer=Watcher())
    await base.load(bundled_model())
    backends: list[Backend] = [base]
    for each in adapters:
        backends.append(AdaptedBackend(base, adapter=each.name, fingerprint=partial(fingerprint_of, each.path)))
    yield {backend.describe().name: backend for backend in backends}
    await base.close()


async def said(backend: Backend, *, scope: str = "") -> str:
    return text_of(await answered(backend, prompt(QUESTION, sampling=GREEDY, max_tokens=6, cache_scope=scope)))


async def test_each_adapter_says_something_else_and_the_base_model_what_it_always_says(models: Models) -> None:
    before = await said(models["base"])
    left, right = await said(models["left"]), await said(models["right"])

    assert len({before, left, right}) == 3
    assert await said(models["base"]) == before
    assert await said(models["left"]) == left


async def test_requests_to_all_of_them_at_once_are_answered_as_alone(models: Models) -> None:
    alone = [await said(backend) for backend in models.values()]
    together = await asyncio.gather(*(said(backend, scope="together") for backend in models.values()))

    assert together == alone


async def test_what_one_has_computed_is_never_reused_for_another(models: Models) -> None:
    await said(models["base"])
    first = end_of(await answered(models["left"], prompt(QUESTION, max_tokens=1)))
    again = end_of(await answered(models["left"], prompt(QUESTION, max_tokens=1)))
    warmed = await models["right"].warm(prompt(QUESTION))

    assert first.usage.cached_tokens == 0
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert warmed.cached_tokens == 0


async def test_an_adapter_is_described_as_one(models: Models) -> None:
    base, left, right = (models[name].describe() for name in ("base", "left", "right"))
    [started, *_] = await answered(models["left"], prompt(QUESTION, max_tokens=1))

    assert (left.name, left.base, left.ready) == ("left", "base", True)
    assert len({base.fingerprint, left.fingerprint, right.fingerprint}) == 3
    assert getattr(started, "model", "") == "left"
    assert getattr(started, "fingerprint", "") == left.fingerprint
    assert await models["left"].count_tokens("one two") == await models["base"].count_tokens("one two")
    with pytest.raises(Unsupported):
        await models["left"].embed(["a"])


async def test_a_scale_of_nothing_changes_nothing(adapters: tuple[AdapterFile, ...], models: Models) -> None:
    silent = AdapterFile(name="silent", path=adapters[0].path, scale=0.0)
    options = ModelOptions(name="base", threads=1, created=1, context_tokens=256, adapters=(silent,))
    base = LlamaCppBackend(options, observer=Watcher())
    await base.load(bundled_model())

    assert await said(AdaptedBackend(base, adapter="silent", fingerprint=str)) == await said(models["base"])
    await base.close()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"general.architecture": "qwen2"}, "mismatch"),
        ({"general.type": "model"}, "general.type"),
        ({"adapter.type": "other"}, "adapter.type"),
        ({"adapter.alora.invocation_tokens": [1, 2]}, "invalid gguf element type"),
    ],
)
async def test_a_file_that_is_no_adapter_of_the_model_is_refused(
    tmp_path: Path, changed: dict[str, Value], reason: str
) -> None:
    wrong = AdapterFile(name="wrong", path=tiny_adapter(tmp_path / "wrong.gguf", 1, changed))
    options = ModelOptions(name="base", threads=1, created=1, context_tokens=256, adapters=(wrong,))
    base = LlamaCppBackend(options, observer=Watcher())

    with pytest.raises(ModelFileError, match=reason):
        await base.load(bundled_model())
    await base.close()
