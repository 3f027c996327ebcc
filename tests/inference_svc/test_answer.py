"""An answer reports every token once and in order, and knows when it is over."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.reasoning_formats import THINK, ReasoningParser
from inference_svc.adapters.llama_cpp.tool_formats import HERMES, ToolCallParser
from inference_svc.domain.answer import Answer, Token
from inference_svc.domain.events import Delta
from threadmesh.conversation import FinishReason, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta


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


MARKERS = [b"<tool_call>", b"{", b"}", b"STOP", b"<think>", b"</think>"]
LETTER_PIECES = [b"a", b" b", b"\n", "é".encode(), "😀".encode()[:2], "😀".encode()[2:], b""]
PIECES = st.lists(st.sampled_from([*MARKERS, *LETTER_PIECES]), max_size=20)


@settings(deadline=None)
@given(pieces=PIECES, stop=st.sampled_from([(), ("STOP",), ("a b",)]), tools=st.booleans(), thinks=st.booleans())
def test_token_indices_have_no_gap_and_every_token_comes_once(
    pieces: list[bytes], stop: tuple[str, ...], tools: bool, thinks: bool
) -> None:
    parser = ToolCallParser(HERMES, single=False) if tools else None
    answer = Answer(stop=stop, parser=ReasoningParser(THINK, thinking=False, answer=parser) if thinks else parser)
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


def test_a_stop_string_does_not_reach_over_a_tool_call() -> None:
    answer = Answer(stop=("ab",), parser=ToolCallParser(HERMES, single=False))
    deltas = read(answer, tokens('a<tool_call>{"name": "a", "arguments": {}}</tool_call>b'))

    assert not answer.over
    assert [type(delta) for delta in deltas if not isinstance(delta, TextDelta) or delta.text] == [
        TextDelta,
        ToolCallDelta,
        ToolCallDelta,
        TextDelta,
    ]


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


LETTERS = st.text(alphabet='ab<tool_cal>{"name: rguments}/ENDS,', max_size=60)
CALL = '<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call>'


def weighed(text: str) -> list[Token]:
    """Give a token for each character, with a probability that tells which one it is."""
    return [
        Token(id=number, piece=char.encode(), logprob=TokenLogprob(token=char.encode(), logprob=-float(number)))
        for number, char in enumerate(text)
    ]


def logprobs_of(deltas: Sequence[Delta]) -> list[TokenLogprob]:
    return [each for delta in deltas if isinstance(delta, TextDelta) for each in delta.logprobs]


@settings(deadline=None)
@given(
    before=LETTERS,
    between=st.sampled_from(["", CALL]),
    after=LETTERS,
    stop=st.sampled_from([(), ("END",), ("ab", "S")]),
)
def test_the_tokens_that_have_probabilities_are_those_of_the_text(
    before: str, between: str, after: str, stop: tuple[str, ...]
) -> None:
    deltas = read(Answer(stop=stop, parser=ToolCallParser(HERMES, single=False)), weighed(before + between + after))

    assert b"".join(each.token for each in logprobs_of(deltas)).decode() == text_of(deltas)


@given(text=LETTERS, stop=st.sampled_from([(), ("END",), ("ab", "S")]))
def test_probabilities_come_in_order_with_the_text_of_their_tokens(text: str, stop: tuple[str, ...]) -> None:
    deltas = read(Answer(stop=stop), weighed(text))

    for delta in deltas:
        assert isinstance(delta, TextDelta)
        assert b"".join(each.token for each in delta.logprobs).decode() == delta.text
    assert [-each.logprob for each in logprobs_of(deltas)] == list(range(len(text_of(deltas))))


def test_a_character_of_two_tokens_has_the_probabilities_of_both() -> None:
    first, second = (TokenLogprob(token=byte, logprob=-1.0) for byte in ("é".encode()[:1], "é".encode()[1:]))
    drawn = [Token(id=1, piece=first.token, logprob=first), Token(id=2, piece=second.token, logprob=second)]

    assert [delta.logprobs for delta in read(Answer(), drawn) if isinstance(delta, TextDelta)] == [(), (first, second)]


def test_tokens_that_were_sent_before_are_read_in_silence() -> None:
    answer = Answer(stop=("END",), silent=2)

    assert answer.read(tokens("the E")[0]) == []
    assert answer.read(tokens("N")[0]) == []
    assert answer.read(Token(id=7, piece=b"T")) == [TextDelta(text="ENT", token_ids=(7,), token_index=2)]


THINKS = ["<think>", "hm", "m ", "END", "\n", "</think>", "\n\n", "Yes", " END"]


def thinking(stop: tuple[str, ...] = ()) -> Answer:
    return Answer(stop=stop, parser=ReasoningParser(THINK, thinking=False))


def test_thinking_is_told_apart_and_its_tokens_are_counted() -> None:
    answer = thinking()
    deltas = read(answer, tokens(*THINKS))
    thoughts = [delta for delta in deltas if isinstance(delta, ReasoningDelta)]

    assert "".join(delta.text for delta in thoughts) == "hmm END"
    assert text_of(deltas) == "Yes END"
    assert answer.reasoning_tokens == len([token for delta in thoughts for token in delta.token_ids]) == 6
    assert answer.tokens == 9


def test_a_stop_string_in_the_thinking_ends_the_answer() -> None:
    answer = thinking(("END",))
    deltas = read(answer, tokens(*THINKS))

    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == "hmm "
    assert text_of(deltas) == ""
    assert answer.over
    assert answer.reason(FinishReason.STOP) is FinishReason.STOP


def test_what_thinking_held_back_for_a_stop_string_comes_before_the_text() -> None:
    deltas = read(thinking(("END!",)), tokens("<think>So EN</think>D! not"))

    assert [(type(delta), delta.text) for delta in deltas if not isinstance(delta, ToolCallDelta) and delta.text] == [
        (ReasoningDelta, "So "),
        (ReasoningDelta, "EN"),
        (TextDelta, "D! not"),
    ]


def test_an_answer_cut_in_its_thinking_has_no_text() -> None:
    answer = Answer(parser=ReasoningParser(THINK, thinking=True))
    deltas = read(answer, tokens("Let me", " see</th"))

    assert all(isinstance(delta, ReasoningDelta) for delta in deltas)
    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == "Let me see</th"
    assert answer.reason(FinishReason.LENGTH) is FinishReason.LENGTH
    assert answer.reasoning_tokens == answer.tokens == 2


@given(thought=LETTERS, text=LETTERS)
def test_thinking_has_no_probabilities_and_text_has_its_own(thought: str, text: str) -> None:
    answer = Answer(parser=ReasoningParser(THINK, thinking=True))
    deltas = read(answer, weighed(f"{thought}</think>\n{text}"))

    assert b"".join(each.token for each in logprobs_of(deltas)).decode() == text_of(deltas) == text.lstrip()
