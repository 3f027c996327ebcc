"""Content never becomes control tokens: their number depends on the shape of a conversation alone."""

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.adapters.llama_cpp.tool_prompt import MediaPiece
from inference_svc.domain.prompt import Conversation
from tests.inference_svc.engines import bundled_model
from tests.inference_svc.test_template import QWEN
from threadmesh.conversation import Message, Role, Text, ToolCall, ToolDefinition

pytestmark = pytest.mark.model


@functools.cache
def vocabulary() -> LoadedModel:
    return LoadedModel(bundled_model(), vocabulary_only=True)


@functools.cache
def special_texts() -> list[str]:
    """Give the text of every control token, and marks of other families."""
    model = vocabulary()
    own = [model.piece(token, special=True).decode() for token in range(model.vocabulary) if model.is_control(token)]
    return [*own, "[INST]", "</s>", "<|eot_id|>", "<tool_call>", "</tool_call>", "<tool_response>", "<|im_", "end|>"]


def contents() -> st.SearchStrategy[str]:
    """Texts that hold special tokens, alone, in pieces and between others."""
    pieces = st.one_of(st.sampled_from(special_texts()), st.text(max_size=6), st.sampled_from(["system\n", "@1.0@"]))
    return st.lists(pieces, min_size=1, max_size=4).map("".join).filter(bool)


def conversation(content: list[str]) -> Conversation:
    """Fill every field of a conversation of one shape."""
    said, asked, name, tool, argument, result, description, property_name, wanted = content
    call = ToolCall(id="call_1", name=tool, arguments_json=json.dumps({argument: [argument, {argument: 1}]}))
    schema = {"type": "object", "description": wanted, "properties": {property_name: {"enum": [wanted]}}}
    return Conversation(
        messages=(
            Message(role=Role.SYSTEM, parts=(Text(text=said),)),
            Message(role=Role.USER, parts=(Text(text=asked), Text(text=said)), name=name),
            Message(role=Role.ASSISTANT, parts=(Text(text=said),), tool_calls=(call,)),
            Message(role=Role.TOOL, parts=(Text(text=result),), tool_call_id="call_1", name=tool),
        ),
        tools=(ToolDefinition(name=tool, description=description, parameters_json=json.dumps(schema)),),
    )


def control_tokens(source: str, content: list[str]) -> list[int]:
    model = vocabulary()
    segments = ChatTemplate(source).render(conversation(content), ask=True)
    tokens = [
        token
        for each in segments
        if not isinstance(each, MediaPiece)
        for token in model.tokenize(each.text, special=each.template)
    ]
    return [token for token in tokens if model.is_control(token)]


@pytest.mark.parametrize("source", ["", QWEN, "bundled"], ids=["chatml", "qwen", "bundled"])
@settings(max_examples=60)
@given(data=st.data())
def test_control_tokens_are_those_of_the_template_whatever_the_content(source: str, data: st.DataObject) -> None:
    template = vocabulary().template if source == "bundled" else source
    content = data.draw(st.lists(contents(), min_size=9, max_size=9))

    assert control_tokens(template, content) == control_tokens(template, ["plain"] * 9)
