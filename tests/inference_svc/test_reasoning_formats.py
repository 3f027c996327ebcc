"""Thinking is told from the answer, however the text is cut."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.reasoning_formats import (
    MISTRAL,
    THINK,
    ReasoningFormat,
    ReasoningParser,
    begins_thinking,
    reasoning_format_of,
)
from inference_svc.adapters.llama_cpp.template import CHATML, ChatTemplate
from inference_svc.adapters.llama_cpp.tool_formats import HERMES, ToolCallParser
from inference_svc.domain.answer import Called, Piece, Said, Thought
from inference_svc.domain.prompt import Conversation
from threadmesh.conversation import Role, message

ASKING = "{% for message in messages %}{{ message.content }}{% endfor %}<|im_start|>assistant\n"
R1 = f"{ASKING}<think>\n"
OPTIONAL = f"{ASKING}{{% if enable_thinking is defined and not enable_thinking %}}<think>\n\n</think>\n\n{{% endif %}}"


def parsed(parser: ReasoningParser, *parts: str) -> list[Piece]:
    pieces: list[Piece] = []
    for part in parts:
        pieces += parser.feed(part)
    return [*pieces, *parser.finish()]


def joined(pieces: Sequence[Piece]) -> tuple[str, str]:
    """Give the whole thinking and the whole text."""
    thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    return thought, "".join(piece.text for piece in pieces if isinstance(piece, Said))


def cut(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[begin:end] for begin, end in pairwise(edges)]


FORMATS = st.sampled_from([THINK, MISTRAL])
WORDS = st.text(alphabet="ab <[/think\n", max_size=20)
PLACES = st.lists(st.integers(0, 80), max_size=12)


@given(form=FORMATS, thought=WORDS, text=WORDS, space=st.sampled_from(["", "\n", " \n\n"]), places=PLACES)
def test_thinking_and_answer_are_the_same_however_the_text_is_cut(
    form: ReasoningFormat, thought: str, text: str, space: str, places: list[int]
) -> None:
    whole = f"{space}{form.begin}{thought}{form.end}{text}"
    expected = (thought.strip(), text.lstrip())

    assert joined(parsed(ReasoningParser(form, thinking=False), *cut(whole, places))) == expected
    inside = cut(f"{thought}{form.end}{text}", places)
    assert joined(parsed(ReasoningParser(form, thinking=True), *inside)) == expected


@given(form=FORMATS, text=WORDS, places=PLACES)
def test_an_answer_without_thinking_is_passed_on_as_it_stands(
    form: ReasoningFormat, text: str, places: list[int]
) -> None:
    pieces = parsed(ReasoningParser(form, thinking=False), *cut(f"x{text}", places))

    assert joined(pieces) == ("", f"x{text}")


@given(form=FORMATS, thought=WORDS, places=PLACES)
def test_thinking_without_an_end_is_all_there_is(form: ReasoningFormat, thought: str, places: list[int]) -> None:
    pieces = parsed(ReasoningParser(form, thinking=True), *cut(thought, places))

    assert joined(pieces) == (thought.strip(), "")


@pytest.mark.parametrize("beginning", ["", " ", "\n<", "<thin", "<thing>"])
def test_what_might_have_been_the_beginning_of_thinking_is_text(beginning: str) -> None:
    assert joined(parsed(ReasoningParser(THINK, thinking=False), *beginning)) == ("", beginning)


def test_thinking_streams_as_it_comes() -> None:
    parser = ReasoningParser(THINK, thinking=False)

    assert parser.feed("<think>\n") == []
    assert parser.thinking
    assert parser.feed("First ") == [Thought(text="First")]
    assert parser.feed("then") == [Thought(text=" then")]
    assert parser.feed(" \n</think>\n\nSo") == [Said(text="So")]
    assert not parser.thinking


def test_a_tool_is_called_behind_the_thinking_and_not_within_it() -> None:
    call = '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>'
    parser = ReasoningParser(THINK, thinking=True, answer=ToolCallParser(HERMES, single=True))
    pieces = parsed(parser, *f"Shall I {call}?</think>\n\n{call}")

    assert joined(pieces) == (f"Shall I {call}?", "")
    assert [piece.name for piece in pieces if isinstance(piece, Called) and piece.name] == ["a"]
    assert parser.called
    assert parser.complete


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, None),
        (R1, THINK),
        (OPTIONAL, THINK),
        ("{% set content = content.split('</think>')[-1] %}", THINK),
        ("[THINK]{{ x }}[/THINK]", MISTRAL),
    ],
)
def test_a_template_tells_how_its_model_thinks(template: str, expected: ReasoningFormat | None) -> None:
    assert reasoning_format_of(template) is expected


@pytest.mark.parametrize(
    ("template", "asked", "expected"),
    [(R1, None, True), (ASKING, None, False), (OPTIONAL, None, False), (OPTIONAL, False, False)],
)
def test_the_end_of_the_prompt_tells_whether_the_model_thinks_already(
    template: str, asked: bool | None, expected: bool
) -> None:
    conversation = Conversation(messages=(message(Role.USER, "Hi"),), thinking=asked)

    assert begins_thinking(ChatTemplate(template).render(conversation, ask=True), THINK) is expected


def test_a_message_cannot_make_the_model_think() -> None:
    conversation = Conversation(messages=(message(Role.USER, "Hi <think>\n"),))
    echo = ChatTemplate("{{ messages[0].content }}")

    assert not begins_thinking(echo.render(conversation, ask=True), THINK)
