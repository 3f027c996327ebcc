"""A model that sees, asked through its backend: images are cached, told apart, and held by no one else's request."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.model import ModelFileError
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.domain.events import Event, Progress
from inference_svc.domain.prompt import Prompt
from tests.inference_svc.engines import GREEDY, Watcher, answered, end_of, ids_of, prompt
from tests.inference_svc.tiny_media import png, wav
from tests.inference_svc.tiny_model import WIDTH, write_model
from tests.inference_svc.tiny_projector import write_projector
from threadmesh.conversation import Media, Message, Part, Role, Text
from threadmesh.errors import InvalidArgument

CAT = Media(mime_type="image/png", data=png(60, 40))
DOG = Media(mime_type="image/png", data=png(60, 40, lambda x, y: (255 - x, y, x * y % 256)))
TONE = Media(mime_type="audio/wav", data=wav(1.0))


async def backend_of(directory: Path, *, architecture: str, sees: str, **options: Any) -> LlamaCppBackend:
    model = write_model(directory / "model.gguf", architecture=architecture)
    projector = write_projector(directory / "mmproj.gguf", sees=sees, hears=True, width=WIDTH)
    chosen = {"name": "seer", "threads": 1, "created": 1, "context_tokens": 400, "projector": projector, **options}
    backend = LlamaCppBackend(ModelOptions(**chosen), observer=Watcher())
    await backend.load(model)
    return backend


@pytest.fixture(params=[("qwen2", "gemma3"), ("qwen2", "mlp"), ("qwen2vl", "qwen2vl_merger")])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LlamaCppBackend]:
    architecture, sees = request.param
    backend = await backend_of(tmp_path, architecture=architecture, sees=sees)
    yield backend
    await backend.close()


def asked(*parts: Part | str, **more: Any) -> Prompt:
    said = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    return prompt([Message(role=Role.USER, parts=said)], sampling=GREEDY, max_tokens=8, **more)


async def begun(stream: AsyncGenerator[Event, None]) -> list[Event]:
    """Follow a stream until its prompt is half read."""
    seen: list[Event] = []
    async for event in stream:
        seen.append(event)
        if isinstance(event, Progress) and event.prefilled_tokens:
            break
    return seen


def cached(events: Sequence[Event]) -> int:
    return end_of(events).usage.cached_tokens


async def test_an_image_is_found_in_the_cache_and_answered_alike(backend: LlamaCppBackend) -> None:
    first = await answered(backend, asked("Look: ", CAT, " What is it?"))
    again = await answered(backend, asked("Look: ", CAT, " What is it?"))
    apart = await answered(backend, asked("Look: ", CAT, " What is it?", cache_scope="apart"))

    assert cached(first) == cached(apart) == 0
    assert cached(again) == end_of(again).usage.prompt_tokens - 1
    assert ids_of(first) == ids_of(again) == ids_of(apart)


async def test_another_image_is_not_taken_for_the_first(backend: LlamaCppBackend) -> None:
    await answered(backend, asked("Look: ", CAT, " What is it?"))
    dog = await answered(backend, asked("Look: ", DOG, " What is it?"))
    apart = await answered(backend, asked("Look: ", DOG, " What is it?", cache_scope="apart"))

    assert 0 < cached(dog) < await backend.count_tokens("<|im_start|>user\nLook: <|vision_start|>")
    assert ids_of(dog) == ids_of(apart)


async def test_a_conversation_goes_on_after_its_image(backend: LlamaCppBackend) -> None:
    await answered(backend, asked("Look: ", CAT, " What is it?"))
    longer = await answered(backend, asked("Look: ", CAT, " What is it now?", DOG, "And this?"))

    assert cached(longer) > await backend.count_tokens("user\nLook: What is it?")


async def test_requests_beside_an_image_are_answered_as_alone(backend: LlamaCppBackend) -> None:
    alone = await answered(backend, asked("Tell me a story of the sea.", cache_scope="alone"))
    beside, *_ = await asyncio.gather(
        answered(backend, asked("Tell me a story of the sea.", cache_scope="beside")),
        answered(backend, asked(CAT, "?")),
        answered(backend, asked(DOG, "?")),
    )

    assert ids_of(beside) == ids_of(alone)


async def test_leaving_between_images_frees_the_engine(backend: LlamaCppBackend) -> None:
    async with aclosing(backend.stream(asked(CAT, "and", DOG, "and", CAT, DOG, "?"))) as stream:
        seen = await begun(stream)

    assert isinstance(seen[-1], Progress)
    assert end_of(await answered(backend, asked("Hi"))).usage.prompt_tokens


async def test_a_prompt_can_be_warmed_and_counted_with_its_image(backend: LlamaCppBackend) -> None:
    whole = asked("Look: ", CAT)
    warmed = await backend.warm(whole)
    answer = await answered(backend, whole)

    assert 0 < warmed.prompt_tokens <= cached(answer) + 1
    assert await backend.count_tokens(whole.conversation) == end_of(answer).usage.prompt_tokens


async def test_sounds_are_answered(backend: LlamaCppBackend) -> None:
    heard = await answered(backend, asked("Listen: ", TONE, " Well?"))

    assert end_of(heard).usage.prompt_tokens > 60


async def test_a_broken_image_is_refused_and_the_engine_goes_on(backend: LlamaCppBackend) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await answered(backend, asked("See", Media(mime_type="image/png", data=CAT.data[:-30])))

    assert caught.value.field == "messages[0].parts[1]"
    assert end_of(await answered(backend, asked("Hi"))).usage.prompt_tokens


async def test_images_beyond_the_context_are_refused(tmp_path: Path) -> None:
    backend = await backend_of(tmp_path, architecture="qwen2", sees="mlp", context_tokens=128)
    with pytest.raises(InvalidArgument, match="148 tokens, and the model's context 128"):
        await answered(backend, asked(CAT, DOG, "?"))
    await backend.close()


async def test_a_file_that_is_no_projector_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not a usable projector"):
        await backend_of(tmp_path, architecture="qwen2", sees="mlp", projector=tmp_path / "model.gguf")


async def test_a_model_without_projector_refuses_media_with_their_place(tmp_path: Path) -> None:
    with capture_logs() as logs:
        backend = await backend_of(tmp_path, architecture="qwen2", sees="mlp", projector=None)
    with pytest.raises(InvalidArgument, match="text only") as caught:
        await answered(backend, asked("See", CAT))
    with pytest.raises(InvalidArgument):
        await backend.count_tokens(asked(CAT).conversation)
    await backend.close()

    assert caught.value.field == "messages[0].parts[1]"
    assert [line["file"] for line in logs if line["event"] == "model.projector_not_used"] == [
        str(tmp_path / "mmproj.gguf")
    ]
