"""The engine dies in the middle of an answer of the real model, and the answer goes on as if nothing had happened."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.history import check
from tests.chaos.reader import Reader
from tests.chaos.units import Units, mesh_of_units, supervised

pytestmark = pytest.mark.model

_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "legs": {"type": "integer"},
        "tame": {"type": "boolean"},
    },
    "required": ["name", "legs", "tame"],
    "additionalProperties": False,
}
_TOOL = {"name": "feed", "parameters": _SCHEMA}
ASKED: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": "Tell me a story about a dog."}], "max_tokens": 48},
    "schema": {
        "messages": [{"role": "user", "content": "Describe a dog as JSON."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "dog", "strict": True, "schema": _SCHEMA}},
    },
    "call": {
        "messages": [{"role": "user", "content": "Feed the dog."}],
        "tools": [{"type": "function", "function": _TOOL}],
        "tool_choice": {"type": "function", "function": {"name": "feed"}},
    },
}
DRAWN = {"greedy": {"temperature": 0.0, "seed": 3}, "drawn": {"temperature": 0.8, "seed": 11}}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Units]:
    with mesh_of_units(tmp_path_factory.mktemp("engine"), scripted=False) as started:
        started.models_are_ready()
        yield started


_SELDOM = {("text", "drawn"), ("schema", "greedy"), ("call", "greedy"), ("call", "drawn")}


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        pytest.param(asked, drawn, marks=pytest.mark.thorough if (asked, drawn) in _SELDOM else ())
        for asked in ASKED
        for drawn in DRAWN
    ],
)
def test_an_answer_is_the_same_whether_its_engine_dies_or_not(units: Units, asked: str, drawn: str) -> None:
    def read(crash: str) -> tuple[Reader, int]:
        units["inference"].start(crash)
        units.models_are_ready()
        reader = Reader(
            urls=[units.url()], body={"stream": True, **ASKED[asked], **DRAWN[drawn]}, key=f"{asked}-{drawn}-{crash}"
        )
        with supervised(units["inference"], restart=True) as deaths:
            reader.read()
        check(units, reader, facade="facade")
        return reader, len(deaths)

    whole, _ = read("")
    for place in (1, 3):
        broken, deaths = read(f"infer.after_token:{place}")

        assert deaths == 1
        assert broken.cuts == 1, "the reader notices nothing"
        assert _said(broken) == _said(whole)
    if asked == "schema":
        assert set(json.loads(whole.text)) == {"name", "legs", "tame"}


def _said(reader: Reader) -> tuple[str, str, list[str]]:
    choices = [choice for chunk in reader.chunks for choice in chunk["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls") or ()]
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    return reader.text, arguments, [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
