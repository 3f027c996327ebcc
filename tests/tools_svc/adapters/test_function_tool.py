"""A function's signature as a tool's definition, its value as a tool's result."""

import asyncio
import functools
import math
import sys
import threading
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from threadmesh.tools import Progress, ToolError, effect_of, tool
from tools_svc.adapters.function_server import reporting
from tools_svc.adapters.function_tool import FunctionRefused, function_tool


class Point(BaseModel):
    x: int
    y: int = 0


@dataclass
class Found:
    name: str
    near: Point


class Weather(TypedDict):
    degrees: float


def _silent(done: float, total: float | None = None, message: str = "") -> None:
    """Hear nothing."""


async def _run(function: Any, /, **arguments: Any) -> Any:
    return await function_tool(function, "unsafe").call(arguments, _silent)


def _words(result: Any) -> str:
    return "".join(block.text for block in result.content)


def test_a_schema_says_types_defaults_and_what_the_docstring_says_of_arguments() -> None:
    def search(words: str, limit: Annotated[int, Field(ge=1)] = 5, json: list[str] | None = None) -> str:
        """Search the notes.

        Args:
            words: What to look for,
                in any order.
            limit (int): How many to give.

        Only notes of this year are searched.
        """
        return words

    made = function_tool(search, "read_only").definition

    assert made.description == "Search the notes.\n\nOnly notes of this year are searched."
    assert made.input_schema["required"] == ["words"]
    assert made.input_schema["additionalProperties"] is False
    assert made.input_schema["properties"]["words"] == {
        "type": "string",
        "description": "What to look for, in any order.",
    }
    assert made.input_schema["properties"]["limit"] == {
        "type": "integer",
        "minimum": 1,
        "default": 5,
        "description": "How many to give.",
    }
    assert made.output_schema is None
    assert made.annotations is not None
    assert made.annotations.read_only_hint is True


def test_a_progress_parameter_is_no_argument() -> None:
    def work(steps: int, progress: Progress) -> str:
        return ""

    assert list(function_tool(work, "unsafe").definition.input_schema["properties"]) == ["steps"]


async def test_arguments_arrive_as_the_types_that_the_function_asks_for() -> None:
    def where(point: Point, _private: int = 1) -> str:
        assert isinstance(point, Point)
        return f"{point.x},{point.y},{_private}"

    assert _words(await _run(where, point={"x": 1})) == "1,0,1"


def _a_model() -> Point:
    return Point(x=1, y=2)


def _a_dataclass() -> Found:
    return Found("tree", Point(x=1))


def _a_typed_dict() -> Weather:
    return {"degrees": 1.5}


def _a_dict() -> dict[str, int]:
    return {"a": 1}


def _a_list() -> list[Point]:
    return [Point(x=1)]


def _a_number() -> int:
    return 7


@pytest.mark.parametrize(
    ("function", "structured"),
    [
        (_a_model, {"x": 1, "y": 2}),
        (_a_dataclass, {"name": "tree", "near": {"x": 1, "y": 0}}),
        (_a_typed_dict, {"degrees": 1.5}),
        (_a_dict, {"a": 1}),
        (_a_list, {"result": [{"x": 1, "y": 0}]}),
        (_a_number, {"result": 7}),
    ],
)
async def test_what_is_not_text_is_given_as_json_with_a_schema(function: Any, structured: Any) -> None:
    result = await _run(function)

    schema = function_tool(function, "unsafe").definition.output_schema
    assert schema is not None
    assert schema["type"] == "object"
    assert result.structured_content == structured
    assert _words(result)


async def test_a_value_that_is_not_of_the_declared_type_is_an_error() -> None:
    def wrong() -> Point:
        return "nowhere"  # type: ignore[return-value]  # that is the test

    assert (await _run(wrong)).is_error


async def test_nothing_is_an_answer_without_content() -> None:
    def quiet() -> None:
        return None

    result = await _run(quiet)

    assert (result.content, result.structured_content, result.is_error) == ([], None, False)


async def test_only_words_meant_for_the_model_reach_it() -> None:
    def refuse() -> str:
        raise ToolError("Ask for less.")

    def leak() -> str:
        raise ValueError("password=hunter2")

    refused, leaked = await _run(refuse), await _run(leak)

    assert (refused.is_error, _words(refused)) == (True, "Ask for less.")
    assert (leaked.is_error, _words(leaked)) == (True, "The tool failed with ValueError.")


async def _leaving() -> str:
    sys.exit(3)


def _leaving_in_its_thread() -> str:
    sys.exit(3)


async def _cancelling() -> str:
    raise asyncio.CancelledError


def _cancelling_in_its_thread() -> str:
    raise asyncio.CancelledError


def _stopping() -> str:
    raise StopIteration


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (_leaving, "SystemExit"),
        (_leaving_in_its_thread, "SystemExit"),
        (_cancelling, "CancelledError"),
        (_cancelling_in_its_thread, "CancelledError"),
        (_stopping, "RuntimeError"),
    ],
)
async def test_a_function_that_ends_more_than_itself_ends_its_call_only(function: Any, kind: str) -> None:
    async with asyncio.timeout(10):
        result = await _run(function)

    assert (result.is_error, _words(result)) == (True, f"The tool failed with {kind}.")


async def test_a_call_that_is_cancelled_is_cancelled() -> None:
    begun = asyncio.Event()

    async def wait() -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    call = asyncio.ensure_future(_run(wait))
    async with asyncio.timeout(10):
        await begun.wait()
        call.cancel()
        await asyncio.wait({call})

    assert call.cancelled()


async def test_a_wrapper_of_an_async_function_is_awaited() -> None:
    async def said() -> str:
        return "awaited"

    @functools.wraps(said)
    def wrapped() -> Any:
        return said()

    assert _words(await _run(wrapped)) == "awaited"


async def test_halves_of_surrogate_pairs_and_numbers_without_end_can_be_sent() -> None:
    def name() -> str:
        return "na\udce9me"

    def sizes() -> dict[str, Any]:
        return {"all": [1.5, math.inf, "\ud800"]}

    def refuse() -> str:
        raise ToolError("no \ud800")

    told = [(await _run(each)).model_dump_json() for each in (name, sizes, refuse)]

    assert ["na?me" in told[0], "no ?" in told[2]] == [True, True]
    assert (await _run(sizes)).structured_content == {"all": [1.5, None, "?"]}


async def test_arguments_that_do_not_fit_are_told_without_running_the_function() -> None:
    def never(count: int) -> str:
        raise AssertionError

    result = await _run(never, count="many", more=1)

    assert result.is_error
    assert "count" in _words(result)
    assert "more" in _words(result)


async def test_a_function_that_blocks_holds_up_no_other() -> None:
    released = threading.Event()

    def wait() -> str:
        assert released.wait(30)
        return "waited"

    async def release() -> str:
        released.set()
        return "released"

    waited, _ = await asyncio.gather(_run(wait), _run(release))

    assert _words(waited) == "waited"


async def test_the_last_progress_is_told_before_the_call_ends_also_from_a_thread() -> None:
    told: list[float] = []

    async def send(done: float, total: float | None, message: str | None) -> None:
        told.append(done)

    def work(progress: Progress) -> str:
        for step in range(1, 101):
            progress(step, 100, "working")
        return "done"

    async with reporting(send) as progress:
        await function_tool(work, "unsafe").call({}, progress)

    assert told[-1] == 100
    assert told == sorted(told)


def _untyped(value) -> str:  # type: ignore[no-untyped-def]  # that is the test
    return str(value)


def _any_number(*values: int) -> str:
    return str(values)


def _of_no_json_type(lock: threading.Event) -> str:
    return str(lock)


@pytest.mark.parametrize("function", [_untyped, _any_number, _of_no_json_type])
def test_a_signature_that_no_model_can_be_told_is_refused_with_its_place(function: Any) -> None:
    with pytest.raises(FunctionRefused, match=rf"{__file__}:\d+: {function.__name__}: ."):
        function_tool(function, "unsafe")


def test_a_marked_function_stays_as_it_is() -> None:
    @tool
    def plain(x: int) -> int:
        return x + 1

    @tool(effect="read_only")
    def looking(x: int) -> int:
        return x

    assert plain(1) == 2
    assert (effect_of(plain), effect_of(looking), effect_of(len)) == ("unsafe", "read_only", None)
