"""A model whose prompt ends inside its thinking, on the bundled model with the template of such a one."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.template import CHATML
from inference_svc.domain.events import Event
from inference_svc.domain.prompt import Grammar, JsonSchema
from tests.inference_svc.engines import GREEDY, answered, backend_of, calls_of, end_of, prompt, text_of
from threadmesh.conversation import FinishReason, ReasoningDelta, ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.sampling import Sampling

pytestmark = pytest.mark.model

TEMPLATE = CHATML.rstrip().removesuffix("{% endif -%}") + "<think>\n{% endif -%}"
YES = Grammar(gbnf='root ::= "yes"')


@pytest.fixture(scope="module")
def thinker() -> Iterator[LlamaCppBackend]:
    backend, _ = backend_of(template=TEMPLATE)
    yield backend
    asyncio.run(backend.close())


def thoughts_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


def said(backend: LlamaCppBackend, text: str) -> tuple[int, ...]:
    """Give what another server has said already."""
    return tuple(backend._require().model.tokenize(text, special=False))


async def test_an_answer_that_ends_in_its_thinking_has_no_text(thinker: LlamaCppBackend) -> None:
    events = await answered(thinker, prompt("Why?", max_tokens=6, sampling=GREEDY))

    assert thoughts_of(events)
    assert text_of(events) == ""
    assert end_of(events).usage.reasoning_tokens == end_of(events).usage.completion_tokens == 6
    assert end_of(events).reason is FinishReason.LENGTH


async def test_a_given_form_leaves_the_thinking_free(thinker: LlamaCppBackend) -> None:
    events = await answered(thinker, prompt("Why?", response_format=YES, max_tokens=12, sampling=GREEDY))

    assert text_of(events) == ""
    assert len(thoughts_of(events)) > len("yes")


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)])
async def test_a_given_form_holds_for_what_follows_the_thinking(thinker: LlamaCppBackend, sampling: Sampling) -> None:
    emitted = said(thinker, "Well, it is so.\n</think>")
    asked = prompt("Why?", response_format=YES, max_tokens=60, sampling=sampling)
    events = await answered(thinker, replace(asked, emitted_token_ids=emitted))

    assert text_of(events) == "yes"
    assert thoughts_of(events) == ""
    assert end_of(events).reason is FinishReason.STOP
    assert end_of(events).usage.reasoning_tokens == len(emitted)


async def test_json_follows_the_thinking(thinker: LlamaCppBackend) -> None:
    form = JsonSchema(schema_json='{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}')
    asked = prompt("Why?", response_format=form, max_tokens=60, sampling=GREEDY)
    events = await answered(thinker, replace(asked, emitted_token_ids=said(thinker, "Hm</think>\n\n")))

    assert json.loads(text_of(events)) == {"a": 1}


async def test_a_forced_call_follows_the_thinking(thinker: LlamaCppBackend) -> None:
    tool = ToolDefinition(name="look")
    named = ToolChoice(mode=ToolChoiceMode.REQUIRED, name="look")
    asked = prompt("Why?", tools=(tool,), tool_choice=named, max_tokens=80, sampling=GREEDY)
    events = await answered(thinker, replace(asked, emitted_token_ids=said(thinker, "I call {it}.</think>\n")))

    assert calls_of(events) == [("look", "{}")]
    assert end_of(events).reason is FinishReason.TOOL_CALLS
