"""Texts become vectors: pooled as the model says, batched without a difference, cut as asked."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from inference_svc.adapters.llama_cpp.embedder import MOST_TEXTS, batches
from inference_svc.adapters.llama_cpp.embedding_backend import EmbeddingBackend
from inference_svc.adapters.llama_cpp.model import ModelFileError
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.domain.ports import Capability
from tests.inference_svc.engines import Watcher, answered, prompt
from tests.inference_svc.tiny_models import CLS, CONTEXT, DIMENSIONS, LAST, MEAN, tiny_decoder, tiny_encoder
from threadmesh.errors import (
    BackendUnavailable,
    ContextLengthExceeded,
    InvalidArgument,
    MeshError,
    Overloaded,
    Unsupported,
)

TEXTS = ["the cat", "rain and sun", "a dog is barking", "x", "the cat sat in the rain"]


def backend(**options: object) -> EmbeddingBackend:
    chosen = {"name": "tiny", "threads": 1, "created": 1, "batch": 64, **options}
    return EmbeddingBackend(ModelOptions(**chosen), observer=Watcher())  # type: ignore[arg-type]  # of many types


async def vectors(path: Path, texts: Sequence[str], **options: object) -> list[tuple[float, ...]]:
    made = backend(**options)
    await made.load(path)
    try:
        return list((await made.embed(texts)).vectors)
    finally:
        await made.close()


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


@pytest.fixture(params=["mean", "cls", "last"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model of each way of pooling, the last one with a KV cache."""
    path = tmp_path / f"{request.param}.gguf"
    if request.param == "last":
        return tiny_decoder(path, pooling=LAST)
    return tiny_encoder(path, pooling=MEAN if request.param == "mean" else CLS)


async def test_vectors_have_unit_length_and_are_those_of_the_single_texts(model: Path) -> None:
    together = await vectors(model, TEXTS * 5)
    alone = [await vectors(model, [text]) for text in TEXTS]

    assert all(len(vector) == DIMENSIONS for vector in together)
    assert all(math.isclose(cosine(vector, vector), 1, rel_tol=1e-6) for vector in together)
    for place, vector in enumerate(together):
        assert cosine(vector, alone[place % len(TEXTS)][0]) > 0.9999
    assert max(cosine(together[0], other) for other in together[1:4]) < 0.99


async def test_each_way_of_pooling_gives_other_vectors(tmp_path: Path) -> None:
    [mean] = await vectors(tiny_encoder(tmp_path / "mean.gguf", pooling=MEAN), ["the cat"])
    [cls] = await vectors(tiny_encoder(tmp_path / "cls.gguf", pooling=CLS), ["the cat"])

    assert cosine(mean, cls) < 0.999


async def test_a_model_that_says_nothing_of_pooling_gives_the_mean(tmp_path: Path) -> None:
    [silent] = await vectors(tiny_encoder(tmp_path / "silent.gguf", pooling=0), ["the cat"])
    [mean] = await vectors(tiny_encoder(tmp_path / "mean.gguf", pooling=MEAN), ["the cat"])

    assert cosine(silent, mean) > 0.9999


async def test_a_model_describes_itself_and_counts(tmp_path: Path) -> None:
    made = backend()
    assert not made.describe().ready
    await made.load(tiny_encoder(tmp_path / "model.gguf"))
    described = made.describe()
    found = await made.embed(["cat", "dog"])

    assert (described.ready, described.capabilities) == (True, (Capability.EMBED,))
    assert (described.context_tokens, described.embedding_dimensions) == (CONTEXT, DIMENSIONS)
    assert described.fingerprint
    assert await made.count_tokens("cat") == 1
    assert found.usage.prompt_tokens == 2 * 3  # each between the tokens of beginning and end
    await made.ping()
    await made.close()


@pytest.fixture
async def tiny(tmp_path: Path) -> EmbeddingBackend:
    made = backend()
    await made.load(tiny_encoder(tmp_path / "model.gguf"))
    return made


async def test_a_vector_can_be_cut_and_is_of_unit_length_still(tiny: EmbeddingBackend) -> None:
    [whole] = (await tiny.embed(["the cat"])).vectors
    [cut] = (await tiny.embed(["the cat"], dimensions=8)).vectors
    length = math.sqrt(sum(value * value for value in whole[:8]))

    assert cut == pytest.approx([value / length for value in whole[:8]])
    await tiny.close()


REFUSED: list[tuple[list[str], int | None, type[MeshError], str]] = [
    (["cat", ""], None, InvalidArgument, "inputs[1]"),
    (["cat", "dog", "cat " * CONTEXT], None, ContextLengthExceeded, "inputs[2]"),
    (["cat"], DIMENSIONS + 1, InvalidArgument, "dimensions"),
    (["cat"], 0, InvalidArgument, "dimensions"),
]


@pytest.mark.parametrize(("texts", "dimensions", "error", "field"), REFUSED)
async def test_what_is_wrong_with_a_request_is_said_by_name(
    tiny: EmbeddingBackend, texts: list[str], dimensions: int | None, error: type[MeshError], field: str
) -> None:
    with pytest.raises(error) as caught:
        await tiny.embed(texts, dimensions=dimensions)

    assert caught.value.facts["field"] == field
    assert len((await tiny.embed(["cat"])).vectors) == 1
    await tiny.close()


async def test_content_cannot_become_a_control_token(tiny: EmbeddingBackend) -> None:
    assert await tiny.count_tokens("[CLS]") > 1
    await tiny.close()


async def test_what_needs_a_model_that_talks_is_refused_in_a_sentence(tiny: EmbeddingBackend) -> None:
    asked = prompt("Hello")
    for refused in (answered(tiny, asked), tiny.warm(asked), tiny.count_tokens(asked.conversation)):
        with pytest.raises(Unsupported, match="embeddings"):
            await refused
    await tiny.close()


async def test_more_requests_than_may_wait_are_refused(tmp_path: Path) -> None:
    made = backend(queue=1)
    await made.load(tiny_encoder(tmp_path / "model.gguf"))
    found = await asyncio.gather(*(made.embed(["the cat"]) for _ in range(3)), return_exceptions=True)

    assert [isinstance(each, Overloaded) for each in found] == [False, False, True]
    await made.close()


async def test_a_closed_model_is_unavailable_also_for_requests_that_run(tmp_path: Path) -> None:
    made = backend()
    await made.load(tiny_encoder(tmp_path / "model.gguf"))
    running = asyncio.ensure_future(made.embed(["the cat sat in the rain"] * 200))
    await asyncio.sleep(0)
    await made.close()
    await made.until_stopped()

    with pytest.raises(BackendUnavailable):
        await running
    with pytest.raises(BackendUnavailable):
        await made.embed(["cat"])


async def test_a_file_that_is_cut_is_no_model(tmp_path: Path) -> None:
    path = tiny_encoder(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:-4_000])
    made = backend()

    with pytest.raises(ModelFileError, match="not a usable GGUF file"):
        await made.load(path)
    await made.close()


def test_batches_keep_the_order_and_both_bounds() -> None:
    texts = [[place] * (1 + place % 5) for place in range(200)]
    found = list(batches(texts, tokens=100))

    assert [text for batch in found for text in batch] == texts
    assert all(sum(map(len, batch)) <= 100 and len(batch) <= MOST_TEXTS for batch in found)
    assert len(found) == 7
    assert list(batches([], tokens=100)) == []
