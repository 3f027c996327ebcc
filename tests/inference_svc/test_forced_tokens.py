"""Forced tokens spell what the grammar forces, in the tokens that the model would write."""

from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from inference_svc.adapters.llama_cpp.forced_tokens import ForcedTokens, forced_tokens
from inference_svc.adapters.llama_cpp.model import LoadedModel
from tests.inference_svc.engines import bundled_model

CALL = 'root ::= "<tool_call>\\n{\\"name\\": \\"look_up\\", \\"arguments\\": {\\"city\\": \\"" [a-z]+ "\\"}}"'
TEXT = '<tool_call>\n{"name": "look_up", "arguments": {"city": "'


def following(model: LoadedModel, gbnf: str, said: str) -> ForcedTokens:
    tokens = forced_tokens(model, gbnf, said=model.tokenize(said, special=False))
    assert tokens is not None
    return tokens


def spelled(model: LoadedModel, tokens: list[int]) -> str:
    return b"".join(model.piece(token) for token in tokens).decode()


@pytest.fixture(scope="module")
def bundled() -> Iterator[LoadedModel]:
    model = LoadedModel(bundled_model(), vocabulary_only=True)
    yield model
    model.close()


@pytest.mark.model
def test_all_but_the_last_token_of_forced_text_are_given(bundled: LoadedModel) -> None:
    whole = bundled.tokenize(TEXT, special=False)

    assert following(bundled, CALL, "").next(99) == whole[:-1]
    assert following(bundled, CALL, "").next(3) == whole[:3]


@pytest.mark.model
@pytest.mark.parametrize("size", range(len(TEXT)))
def test_forced_tokens_go_on_where_the_answer_stands(bundled: LoadedModel, size: int) -> None:
    proposed = spelled(bundled, following(bundled, CALL, TEXT[:size]).next(99))

    assert TEXT[size:].startswith(proposed)
    assert proposed or len(TEXT) - size < 5


@pytest.mark.model
def test_nothing_is_forced_where_the_grammar_leaves_a_choice(bundled: LoadedModel) -> None:
    assert following(bundled, CALL, TEXT + "par").next(99) == []


@pytest.mark.model
def test_half_a_code_point_is_read_with_its_other_half(bundled: LoadedModel) -> None:
    tokens = following(bundled, 'root ::= "🦉" "found it"', "")
    pieces = bundled.tokenize("🦉", special=False)
    assert len(pieces) > 1
    for token in pieces:
        tokens.read(token)

    assert spelled(bundled, tokens.next(99)) == "found"


@pytest.mark.model
def test_an_answer_without_a_grammar_has_no_forced_tokens(bundled: LoadedModel) -> None:
    assert forced_tokens(bundled, "", said=[]) is None


def sentencepiece(path: Path) -> Path:
    """Write a vocabulary that puts a space before every text, as those of Llama 2 and Mistral do."""
    words = ["<unk>", "<s>", "</s>", "▁", "▁a", "a", "b", "c", "{", '"', ":", "<0x0A>"]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.NORMAL] * 8, gguf.TokenType.BYTE]
    file = gguf.GGUFWriter(path, "llama")
    file.add_tokenizer_model("llama")
    file.add_token_list(words)
    file.add_token_scores([-float(place) for place in range(len(words))])
    file.add_token_types(kinds)
    file.add_add_space_prefix(True)
    file.add_context_length(64)
    file.add_embedding_length(32)
    file.add_block_count(1)
    file.add_head_count(1)
    file.add_feed_forward_length(32)
    file.add_layer_norm_rms_eps(1e-6)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def test_no_space_is_put_before_forced_tokens(tmp_path: Path) -> None:
    model = LoadedModel(sentencepiece(tmp_path / "spm.gguf"), vocabulary_only=True)
    assert spelled(model, model.tokenize("bc", special=False)) == " bc"

    assert spelled(model, following(model, 'root ::= "{\\"bc"', "").next(9)) == '{"b'
    assert spelled(model, following(model, 'root ::= "bc:"', "").next(9)) == "bc"
    model.close()
