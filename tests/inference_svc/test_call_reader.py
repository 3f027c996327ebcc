"""Tool calls are read from JSON that is still being written, and told from text."""

import json
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.tool_formats import (
    HERMES,
    LLAMA3,
    MISTRAL,
    ToolCallParser,
    ToolFormat,
    format_of,
)
from inference_svc.domain.answer import Called, Piece, Said

Call = tuple[str, str]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.text(max_size=5), JSON, max_size=3)


def ids() -> Callable[[], str]:
    numbers = count()
    return lambda: f"id{next(numbers)}"


def parse(
    form: ToolFormat, text: str, *, size: int = 1, single: bool = False, forced: bool = False
) -> tuple[str, list[Call]]:
    """Give the text and the calls of an answer that comes in pieces of `size` characters."""
    parser = ToolCallParser(form, single=single, forced=forced, new_id=ids())
    pieces: list[Piece] = []
    for begin in range(0, len(text), size):
        if not parser.complete:
            pieces += parser.feed(text[begin : begin + size])
    if not parser.complete:
        pieces += parser.finish()
    return collected(pieces)


def collected(pieces: list[Piece]) -> tuple[str, list[Call]]:
    said, calls = "", list[Call]()
    for piece in pieces:
        match piece:
            case Said(text=text):
                assert text
                said += text
            case Called(index=index, id=call_id, name=name, arguments_json=arguments):
                if index == len(calls):
                    assert (call_id, bool(name)) == (f"id{index}", True), "the first piece names the call"
                    calls.append((name, arguments))
                else:
                    assert index == len(calls) - 1
                    assert not call_id
                    calls[index] = (calls[index][0], calls[index][1] + arguments)
    return said, calls


def hermes(*calls: tuple[str, object]) -> str:
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>" for name, arguments in calls
    )


@settings(deadline=None)
@given(arguments=ARGUMENTS, size=st.integers(1, 9))
def test_arguments_come_byte_for_byte_as_the_model_wrote_them(arguments: dict[str, object], size: int) -> None:
    assert parse(HERMES, hermes(("f", arguments)), size=size) == ("", [("f", json.dumps(arguments))])


@settings(deadline=None)
@given(text=st.text(alphabet="ab<tool_c>{}\"': ", max_size=40), size=st.integers(1, 5))
def test_text_without_a_marker_passes_unchanged(text: str, size: int) -> None:
    assert parse(HERMES, text, size=size) == (text, [])


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_text_before_calls_and_several_calls_are_told_apart(size: int) -> None:
    answer = "Let me look. " + hermes(("a", {"x": "}"}), ("b", {})) + "\n"

    assert parse(HERMES, answer, size=size) == ("Let me look. ", [("a", '{"x": "}"}'), ("b", "{}")])


@pytest.mark.parametrize(
    "answer",
    [
        '[TOOL_CALLS] [{"name": "a", "arguments": {"x": [1, "]"]}}, {"name": "b", "arguments": {}}]',
        '[TOOL_CALLS][{"arguments": {"x": [1, "]"]}, "name": "a"}, {"name": "b"}]',
        '[TOOL_CALLS]a[ARGS]{"x": [1, "]"]}[TOOL_CALLS]b{}',
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1_000])
def test_mistrals_lists_and_named_calls_are_read(answer: str, size: int) -> None:
    assert parse(MISTRAL, answer, size=size) == ("", [("a", '{"x": [1, "]"]}'), ("b", "{}")])


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "a", "parameters": {"x": 1}}; {"name": "b", "parameters": {}}',
        '\n<|python_tag|>{"type": "function", "name": "a", "parameters": {"x": 1}}\n{"name": "b"}',
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1_000])
def test_llama3s_bare_objects_are_read(answer: str, size: int) -> None:
    assert parse(LLAMA3, answer, size=size)[1] == [("a", '{"x": 1}'), ("b", "{}")]


@pytest.mark.parametrize("size", [1, 1_000])
def test_an_object_that_is_no_call_is_text(size: int) -> None:
    assert parse(LLAMA3, '{"city": "Rome"} it is', size=size) == ('{"city": "Rome"} it is', [])


def test_an_object_later_in_a_text_is_no_bare_call() -> None:
    answer = 'Like this: {"name": "a", "parameters": {}}'

    assert parse(LLAMA3, answer) == (answer, [])


@pytest.mark.parametrize("answer", ["<tool_call>\nnonsense", "a <tool", '<tool_call>{"x": 1}'])
@pytest.mark.parametrize("size", [1, 1_000])
def test_what_turns_out_to_be_no_call_is_text(answer: str, size: int) -> None:
    assert parse(HERMES, answer, size=size) == (answer, [])


def test_a_call_cut_short_keeps_what_was_written() -> None:
    assert parse(HERMES, '<tool_call>{"name": "a", "arguments": {"x": "lo') == ("", [("a", '{"x": "lo')])


@pytest.mark.parametrize(
    ("form", "answer", "said"),
    [
        (HERMES, "Wait. <tool_call>", "Wait. "),
        (HERMES, '<tool_call>\n{"name', ""),
        (MISTRAL, '[TOOL_CALLS][{"na', ""),
        (MISTRAL, "[TOOL_CALLS]weath", ""),
        (LLAMA3, '<|python_tag|>{"na', ""),
    ],
)
@pytest.mark.parametrize("size", [1, 1_000])
def test_a_call_cut_short_before_its_name_is_not_text(form: ToolFormat, answer: str, said: str, size: int) -> None:
    assert parse(form, answer, size=size) == (said, [])


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        (HERMES, hermes(("a", {}), ("b", {}))),
        (MISTRAL, '[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]'),
        (LLAMA3, '{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}}'),
    ],
)
@pytest.mark.parametrize("size", [1, 1_000])
def test_nothing_of_a_forced_call_is_text_wherever_it_is_cut(form: ToolFormat, answer: str, size: int) -> None:
    for end in range(len(answer)):
        assert parse(form, answer[:end], size=size, forced=True)[0] == ""


@pytest.mark.parametrize(("form", "answer"), [(HERMES, "<tool_cal"), (MISTRAL, "[TOOL"), (LLAMA3, '{"name')])
def test_what_might_have_been_text_still_is_text_where_no_call_is_forced(form: ToolFormat, answer: str) -> None:
    assert parse(form, answer) == (answer, [])


def test_arguments_written_as_a_text_are_opened() -> None:
    answer = '<tool_call>{"name": "a", "arguments": "{\\"x\\": 1}"}</tool_call>'

    assert parse(HERMES, answer) == ("", [("a", '{"x": 1}')])


def test_with_a_single_call_allowed_the_first_one_ends_the_answer() -> None:
    assert parse(HERMES, hermes(("a", {}), ("b", {})), single=True) == ("", [("a", "{}")])


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{{ tools }} <tool_call> {{ messages }}", HERMES),
        ("{{ tools }} [TOOL_CALLS] {{ messages }}", MISTRAL),
        ('{{ tools }} {"name": f, "parameters": {} }', LLAMA3),
        ("<|im_start|>{{ messages }}", HERMES),
    ],
)
def test_the_family_is_told_by_the_template(template: str, form: ToolFormat) -> None:
    assert format_of(template) is form


def test_mistrals_call_ids_are_nine_letters_and_digits() -> None:
    assert len(MISTRAL.new_id()) == 9
    assert MISTRAL.new_id().isalnum()
    assert HERMES.new_id() != HERMES.new_id()
