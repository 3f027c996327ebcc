"""Models whose memory is a state: half a step cannot be taken back, so no step is broken off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.domain.events import Progress
from inference_svc.domain.prompt import Prompt
from tests.inference_svc.engines import Watcher, answered, ids_of, prompt
from tests.inference_svc.tiny_models import small_recurrent
from threadmesh.sampling import Sampling

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

STREAMS = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppBackend]:
    options = ModelOptions(name="small", threads=1, created=1, context_tokens=2048, sequences=6, cells=4096)
    backend = LlamaCppBackend(options, observer=Watcher())
    await backend.load(small_recurrent(tmp_path_factory.mktemp("recurrent") / "model.gguf"))
    yield backend
    await backend.close()


def long_answer(number: int) -> Prompt:
    greedy = Sampling(temperature=0.0, ignore_eos=True)
    return prompt(f"the cat {number} " * 6, max_tokens=150, caller="ann", cache_scope=f"ann {number}", sampling=greedy)


async def answers(backend: LlamaCppBackend) -> list[list[int]]:
    found = await asyncio.gather(*(answered(backend, long_answer(number)) for number in range(STREAMS)))
    return [ids_of(each) for each in found]


async def test_answers_go_on_as_they_were_when_a_guest_comes(backend: LlamaCppBackend) -> None:
    alone = await answers(backend)
    beside = asyncio.create_task(answers(backend))
    guests = 0
    while not beside.done():
        await answered(backend, prompt(f"dog rain {guests}", max_tokens=1, caller="bob", cache_scope="bob"))
        guests += 1

    assert await beside == alone
    assert guests > 1


async def test_answers_go_on_as_they_were_when_somebody_leaves_whose_prompt_is_read(backend: LlamaCppBackend) -> None:
    alone = await answers(backend)
    beside = asyncio.create_task(answers(backend))
    left = 0
    while not beside.done():
        asked = prompt(f"sun {left} " * 150, max_tokens=1, caller="ann", cache_scope="leaves")
        async with aclosing(backend.stream(asked)) as events:
            async for event in events:
                if isinstance(event, Progress) and event.prefilled_tokens:
                    break
        left += 1

    assert await beside == alone
    assert left > 1
