"""What is wrong with a request, as OpenAI says it."""

from typing import Any

import pytest
from pydantic import ValidationError

from facade.edge.chat.fields import Schema
from facade.edge.chat.schemas import ChatRequest
from facade.edge.completions.schemas import CompletionRequest
from facade.edge.invalid import invalid
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.tokens import TokenizeRequest

USER = {"role": "user", "content": "x"}


def told(body: dict[str, Any], model: type[Schema] = ChatRequest) -> tuple[str, str, str]:
    """Give field, code and message with which a request is refused."""
    with pytest.raises(ValidationError) as raised:
        model.model_validate(body)
    error = invalid(raised.value, body)
    return str(error.facts["field"]), str(error.facts["kind"]), error.message


@pytest.mark.parametrize(
    ("sent", "field", "code", "words"),
    [
        ({"temperature": 9}, "temperature", "decimal_above_max_value",
         "decimal above maximum value. Expected a value <= 2, but got 9"),
        ({"presence_penalty": -2.5}, "presence_penalty", "decimal_below_min_value",
         "decimal below minimum value. Expected a value >= -2, but got -2.5"),
        ({"n": 0}, "n", "integer_below_min_value",
         "integer below minimum value. Expected a value >= 1, but got 0"),
        ({"top_logprobs": 50}, "top_logprobs", "integer_above_max_value",
         "integer above maximum value. Expected a value <= 20, but got 50"),
        ({"messages": []}, "messages", "empty_array",
         "empty array. Expected an array with minimum length 1, but got an empty array"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length",
         "array too long. Expected an array with maximum length 4, but got an array with length 5"),
        ({"metadata": {str(key): "v" for key in range(17)}}, "metadata", "object_above_max_properties",
         "too many properties. Expected an object with at most 16 properties, but got an object with 17 properties"),
        ({"metadata": {"a": "v" * 513}}, "metadata.a", "string_above_max_length",
         "string too long. Expected a string with maximum length 512, but got a string with length 513"),
    ],
)  # fmt: skip
def test_what_is_beyond_a_bound_is_told_with_it(sent: dict[str, Any], field: str, code: str, words: str) -> None:
    assert told({"messages": [USER], **sent}) == (field, code, f"Invalid '{field}': {words} instead.")


@pytest.mark.parametrize(
    ("sent", "field", "code"),
    [
        ({"temperature": 10**400}, "temperature", "decimal_above_max_value"),
        ({"top_p": -(10**400)}, "top_p", "decimal_below_min_value"),
        ({"logit_bias": {"1": 10**400}}, "logit_bias.1", "decimal_above_max_value"),
    ],
)
def test_an_integer_that_no_double_holds_is_beyond_the_bound(sent: dict[str, Any], field: str, code: str) -> None:
    assert told({"messages": [USER], **sent})[:2] == (field, code)


def test_a_text_of_another_form_is_told_the_form() -> None:
    field, code, message = told({"messages": [USER], "tools": [{"type": "function", "function": {"name": "a b"}}]})

    assert (field, code) == ("tools[0].function.name", "invalid_value")
    assert message.endswith("Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'.")


@pytest.mark.parametrize(
    ("sent", "field", "expected", "got"),
    [
        ({"temperature": "hot"}, "temperature", "a decimal", "a string"),
        ({"seed": 1.5}, "seed", "an integer", "a decimal number"),
        ({"stream": "yes"}, "stream", "a boolean", "a string"),
        ({"user": {}}, "user", "a string", "an object"),
        ({"messages": "hi"}, "messages", "an array", "a string"),
        ({"messages": [None]}, "messages[0]", "an object", "null"),
        ({"messages": [{**USER, "content": True}]}, "messages[0].content", "one of a string or array", "a boolean"),
        ({"stop": 7}, "stop", "one of a string or array", "an integer"),
        ({"tool_choice": []}, "tool_choice", "one of a string or object", "an array"),
    ],
)  # fmt: skip
def test_what_is_of_a_wrong_type_is_told_what_it_should_have_been(
    sent: dict[str, Any], field: str, expected: str, got: str
) -> None:
    message = f"Invalid type for '{field}': expected {expected}, but got {got} instead."
    assert told({"messages": [USER], **sent}) == (field, "invalid_type", message)


@pytest.mark.parametrize(
    ("sent", "field", "values"),
    [
        ({"tool_choice": "bogus"}, "tool_choice", "'none', 'auto', and 'required'"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role",
         "'system', 'developer', 'user', 'assistant', and 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type",
         "'text', 'refusal', 'image_url', and 'input_audio'"),
        ({"tools": [{"type": "z", "function": {"name": "a"}}]}, "tools[0].type", "'function'"),
        ({"encoding_format": "q", "reasoning_effort": "?"}, "reasoning_effort",
         "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'"),
    ],
)  # fmt: skip
def test_what_is_none_of_the_values_is_told_them(sent: dict[str, Any], field: str, values: str) -> None:
    message = f"Invalid value for '{field}'. Supported values are: {values}."
    assert told({"messages": [USER], **sent}) == (field, "invalid_value", message)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [USER], "tools": [{"type": "function"}]}, "tools[0].function"),
    ],
)
def test_what_is_missing_is_named(body: dict[str, Any], field: str) -> None:
    assert told(body) == (field, "missing_required_parameter", f"Missing required parameter: '{field}'.")


def test_two_values_are_joined_without_a_comma() -> None:
    message = "Invalid value for 'truncation'. Supported values are: 'auto' and 'disabled'."
    assert told({"input": "a", "truncation": "q"}, ResponseRequest) == ("truncation", "invalid_value", message)


FUNCTION = {"type": "function", "name": "f"}
SERVER = {"type": "mcp", "server_label": "s"}


@pytest.mark.parametrize(
    ("model", "sent", "field", "words"),
    [
        (ChatRequest, {"stream_options": {}}, "stream_options", "stream_options needs stream to be true."),
        (ChatRequest, {"top_logprobs": 1}, "top_logprobs", "top_logprobs needs logprobs to be true."),
        (ChatRequest, {"tools": [{"type": "function", "function": {"name": "f"}}] * 2}, "tools",
         "tools names two functions alike; give each its own name."),
        (ResponseRequest, {"stream_options": {}}, "stream_options", "stream_options needs stream to be true."),
        (ResponseRequest, {"tools": [FUNCTION] * 2}, "tools",
         "tools names two functions alike; give each its own name."),
        (ResponseRequest, {"tools": [SERVER] * 2}, "tools", "tools names one server twice; say all of it at once."),
        (ResponseRequest, {"background": True, "store": False}, "store",
         "A response in the background must be stored."),
        (ResponseRequest, {"conversation": "conv_1", "previous_response_id": "resp_1"}, "previous_response_id",
         "A response goes on with a conversation or behind a previous_response_id, not with both."),
        (CompletionRequest, {"prompt": "a", "stream_options": {}}, "stream_options",
         "stream_options needs stream to be true."),
        (TokenizeRequest, {"prompt": "a"}, "prompt", "Send either a prompt or messages."),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_by_one_of_the_fields(
    model: type[Schema], sent: dict[str, Any], field: str, words: str
) -> None:
    given = {"input": "a"} if model is ResponseRequest else {"messages": [USER]}

    assert told({**given, **sent}, model) == (field, "invalid_value", words)


def test_what_our_own_rules_refuse_is_told_in_their_words() -> None:
    field, code, message = told({"input": "a", "tools": [{"type": "zebra"}]}, ResponseRequest)
    assert (field, code) == ("tools[0]", "invalid_value")
    assert message.startswith("tools[0] must be of type function or mcp")
