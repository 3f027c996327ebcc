"""An answer reports every token once and in order, and knows when it is over."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.tool_formats import HERMES, ToolCallParser
from inference_svc.domain.answer import Answer, Token
from inference_svc.domain.events import Delta
from threadmesh.conversation import FinishReason, TextDelta, TokenLogprob, ToolCallDelta


def tokens(*pieces: str | bytes) -> list[Token]:
    return [
        Token(id=100 + number, piece=piece.encode() if isinstance(piece, str) else piece)
        for number, piece in enumerate(pieces)
    ]


def read(answer: Answer, drawn: Sequence[Token]) -> list[Delta]:
    deltas: list[Delta] = []
    for token in drawn:
        if answer.over:
            break
        deltas += answer.read(token)
    return deltas + answer.finish()


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


PIECES = st.lists(
    st.sampled_from(
        [b"a", b" b", "é".encode(), "😀".encode()[:2], "😀".encode()[2:], b"", b"<tool_call>", b"{", b"}", b"STOP"]
    ),
    max_size=20,
)


@settings(deadline=None)
@given(pieces=PIECES, stop=st.sampled_from([(), ("STOP",), ("a b",)]), tools=st.booleans())
def test_token_indices_have_no_gap_and_every_token_comes_once(
    pieces: list[bytes], stop: tuple[str, ...], tools: bool
) -> None:
    answer = Answer(stop=stop, parser=ToolCallParser(HERMES, single=False) if tools else None)
    drawn = tokens(*pieces)
    expected = 0
    for delta in read(answer, drawn):
        assert delta.token_index == expected
        expected += len(delta.token_ids)

    assert expected == answer.tokens
    assert answer.over or expected == len(drawn)


def test_a_token_that_cannot_be_shown_yet_is_reported_with_empty_text() -> None:
    answer = Answer()
    first, second = "é".encode()[:1], "é".encode()[1:]

    assert answer.read(tokens(first)[0]) == [TextDelta(text="", token_ids=(100,), token_index=0)]
    assert answer.read(Token(id=7, piece=second)) == [TextDelta(text="é", token_ids=(7,), token_index=1)]


def test_a_stop_string_over_two_tokens_ends_the_answer_before_it() -> None:
    answer = Answer(stop=("wait for",))
    deltas = read(answer, tokens("I ", "wait", " fo", "r you"))

    assert text_of(deltas) == "I "
    assert answer.over
    assert answer.reason(FinishReason.STOP) is FinishReason.STOP


def test_text_held_back_for_a_stop_string_comes_at_the_end() -> None:
    answer = Answer(stop=("END!",))

    assert text_of(read(answer, tokens("the ", "EN", "D"))) == "the END"


def test_a_stop_string_within_a_tool_call_is_not_one() -> None:
    answer = Answer(stop=("stop",), parser=ToolCallParser(HERMES, single=False))
    deltas = read(answer, tokens('<tool_call>{"name": "a", "arguments": {"x": "stop"}}</tool_call>'))

    assert not answer.over
    assert "".join(delta.arguments_json for delta in deltas if isinstance(delta, ToolCallDelta)) == '{"x": "stop"}'
    assert answer.reason(FinishReason.STOP) is FinishReason.TOOL_CALLS


def test_an_answer_cut_in_a_tool_call_ended_by_its_length() -> None:
    answer = Answer(parser=ToolCallParser(HERMES, single=True))
    read(answer, tokens('<tool_call>{"name": "a", "argum'))

    assert answer.reason(FinishReason.LENGTH) is FinishReason.LENGTH


def test_a_complete_single_call_ends_the_answer() -> None:
    answer = Answer(parser=ToolCallParser(HERMES, single=True))
    read(answer, tokens('<tool_call>{"name": "a", "arguments": {}}', " more"))

    assert answer.over
    assert answer.tokens == 1
    assert answer.reason(FinishReason.LENGTH) is FinishReason.TOOL_CALLS


def test_the_probability_of_a_token_travels_with_it() -> None:
    logprob = TokenLogprob(token=b"a", logprob=-0.5)
    [delta] = Answer().read(Token(id=1, piece=b"a", logprob=logprob))

    assert delta == TextDelta(text="a", token_ids=(1,), token_index=0, logprobs=(logprob,))
