"""What a chat completion request may hold, and where it is said to be wrong."""

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from facade.edge.chat.decode import new_run
from facade.edge.chat.schemas import ChatRequest
from facade.edge.controls import controls
from facade.edge.ignored import ignored_headers
from facade.edge.invalid import invalid
from threadmesh.conversation import Media, Reasoning, Refusal, Role, Text, ToolChoiceMode
from threadmesh.errors import InvalidArgument
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc

USER = {"role": "user", "content": "hi"}
CALL = {"name": "f", "arguments": "{}"}


def refusal(body: dict[str, Any]) -> InvalidArgument:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate(body)
    return invalid(caught.value, body)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user", "content": 5}]}, "messages[1].content"),
        ({"messages": [USER, {"role": "user"}]}, "messages[1]"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"typical_p": 1.1}, "typical_p"),
        ({"repeat_last_n": -1}, "repeat_last_n"),
        ({"top_n_sigma": -1}, "top_n_sigma"),
        ({"xtc_probability": 2}, "xtc_probability"),
        ({"dry_multiplier": -1}, "dry_multiplier"),
        ({"dry_base": 0.5}, "dry_base"),
        ({"dry_sequence_breakers": []}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ["a", ""]}, "dry_sequence_breakers[1]"),
        ({"dry_sequence_breakers": ["é" * 21]}, "dry_sequence_breakers[0]"),
        ({"mirostat": 3}, "mirostat"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"reasoning_effort": "endless"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking"),
        ({"n": 0}, "n"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        (
            {"messages": [USER, {"role": "assistant", "content": "a", "function_call": CALL}]},
            "messages[1].function_call",
        ),
        ({"messages": [USER, {"role": "assistant", "function_call": CALL}]}, "messages[1].function_call"),
        ({"messages": [{"role": "user", "refusal": "no"}]}, "messages[0]"),
        ({"modalities": ["text", "audio"]}, "modalities[1]"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str) -> None:
    assert refusal({"messages": [USER], **change}).facts["field"] == field


PNG, JPEG, WAV, MP3 = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WAVE", b"\xff\xfb\x90\xc4"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def with_part(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, part]}]}


def image(url: str) -> dict[str, Any]:
    return with_part({"type": "image_url", "image_url": {"url": url}})


def sound(data: str, form: str) -> dict[str, Any]:
    return with_part({"type": "input_audio", "input_audio": {"data": data, "format": form}})


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://example.com/cat.png", "not fetched"),
        ("http://127.0.0.1/cat.png", "not fetched"),
        ("file:///etc/passwd", "not fetched"),
        ("data:text/html;base64," + encoded(b"<html>"), "not fetched"),
        ("data:image/png," + encoded(PNG), "base64"),
        ("data:image/png;base64,", "base64"),
        ("data:image/png;base64,!!!!", "base64"),
        ("data:image/png;base64," + encoded(PNG)[:-1], "base64"),
        ("data:image/png;base64," + encoded(PNG + bytes(3 * 1024 * 1024)), "at most 3 MiB"),
        ("data:image/png;base64," + encoded(JPEG), "declares image/png but holds image/jpeg"),
        ("data:image/png;base64," + encoded(b"<!doctype html>"), "holds no known format"),
        ("data:image/svg+xml;base64," + encoded(b"<svg/>"), "holds no known format"),
        ("data:image/png;base64," + encoded(MP3), "holds audio/mpeg"),
    ],
)
def test_a_wrong_image_is_refused(url: str, problem: str) -> None:
    refused = refusal(image(url))

    assert refused.facts["field"] == "messages[0].content[1].image_url.url"
    assert problem in refused.message


@pytest.mark.parametrize(
    ("data", "form", "problem"),
    [
        ("!!!!", "wav", "base64"),
        ("", "wav", "base64"),
        (encoded(WAV + bytes(3 * 1024 * 1024)), "wav", "at most 3 MiB"),
        (encoded(MP3), "wav", "declares audio/wav but holds audio/mpeg"),
        (encoded(PNG), "mp3", "declares audio/mp3 but holds image/png"),
    ],
)
def test_a_wrong_sound_is_refused(data: str, form: str, problem: str) -> None:
    refused = refusal(sound(data, form))

    assert refused.facts["field"] == "messages[0].content[1].input_audio.data"
    assert problem in refused.message


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (image("data:image/png;base64," + encoded(PNG)), Media(mime_type="image/png", data=PNG)),
        (image("data:IMAGE/JPG;BASE64," + encoded(JPEG)), Media(mime_type="image/jpg", data=JPEG)),
        (sound(encoded(WAV), "wav"), Media(mime_type="audio/wav", data=WAV)),
        (sound(encoded(MP3), "mp3"), Media(mime_type="audio/mp3", data=MP3)),
    ],
)
def test_images_and_sounds_come_with_their_bytes(body: dict[str, Any], media: Media) -> None:
    assert decoded(body).input[0].parts == (Text(text="See"), media)


def test_a_missing_field_has_openais_code() -> None:
    refused = refusal({"model": "m"})

    assert refused.facts == {"field": "messages", "kind": "missing_required_parameter"}
    assert refused.message == "Missing required parameter: 'messages'."


def test_whole_floats_are_integers() -> None:
    assert ChatRequest.model_validate({"messages": [USER], "max_tokens": 1e3}).max_tokens == 1000


def test_unknown_fields_are_named_not_refused() -> None:
    asked = ChatRequest.model_validate({"messages": [USER], "zeal": 1, "moderation": {}, "zähigkeit": 2})

    assert ignored_headers(asked) == {"x-threadmesh-ignored": "moderation, zeal, ?"}


def decoded(body: dict[str, Any]) -> Any:
    request = ChatRequest.model_validate(body)
    return new_run(
        request,
        controls({}, request.metadata or {}, default_tools="none"),
        tenant="",
        cache_scope="",
        timeout_seconds=1,
    )


def test_a_request_is_decoded_into_a_run() -> None:
    run = decoded(
        {
            "messages": [{"role": "developer", "content": "be kind"}, USER],
            "max_completion_tokens": 7,
            "stop": "END",
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "metadata": {"thread_key": "discord:1:2", "tools": "a__b, c__d"},
        }
    )

    assert [message.role for message in run.input] == [Role.DEVELOPER, Role.USER]
    assert run.input[1].parts == (Text(text="hi"),)
    assert run.parameters.max_tokens == 7
    assert run.parameters.stop == ("END",)
    assert run.parameters.tool_choice.name == "f"
    assert run.parameters.tool_choice.mode is ToolChoiceMode.REQUIRED
    assert run.parameters.server_tools.names == ("a__b", "c__d")
    assert run.thread_key == "discord:1:2"


def test_every_way_to_draw_can_be_asked_for() -> None:
    sampling = decoded(
        {
            "messages": [USER],
            "typical_p": 0.9,
            "repeat_last_n": 16,
            "top_n_sigma": 2,
            "dry_multiplier": 0.8,
            "dry_allowed_length": 3,
            "dry_sequence_breakers": ["."],
            "mirostat": 2,
            "mirostat_tau": 4,
            "xtc_probability": 0.5,
            "ignore_eos": True,
        }
    ).parameters.sampling

    assert sampling == Sampling(
        typical_p=0.9,
        repeat_last_n=16,
        top_n_sigma=2,
        dry=Dry(multiplier=0.8, allowed_length=3, sequence_breakers=(".",)),
        mirostat=Mirostat(mode=2, tau=4),
        xtc=Xtc(probability=0.5),
        ignore_eos=True,
    )


def test_what_is_switched_off_is_not_asked_for() -> None:
    off = {"dry_multiplier": 0, "dry_base": 1.5, "mirostat": 0, "mirostat_tau": 3, "xtc_probability": 0.0}

    assert decoded({"messages": [USER], **off}).parameters.sampling == Sampling()


@pytest.mark.parametrize(
    ("asked", "thinking", "effort"),
    [
        ({}, None, ""),
        ({"reasoning_effort": "none"}, False, ""),
        ({"reasoning_effort": "minimal"}, False, ""),
        ({"reasoning_effort": "high"}, None, "high"),
        ({"reasoning_effort": "max"}, None, "max"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False, ""),
        ({"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "none"}, True, ""),
        ({"chat_template_kwargs": {"other": 1}}, None, ""),
    ],
)
def test_a_request_says_whether_to_think(asked: dict[str, Any], thinking: bool | None, effort: str) -> None:
    parameters = decoded({"messages": [USER], **asked}).parameters

    assert (parameters.thinking, parameters.reasoning_effort) == (thinking, effort)


def test_the_thinking_of_earlier_answers_comes_back() -> None:
    said = {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}

    assert decoded({"messages": [USER, said, USER]}).input[1].parts == (Reasoning(text="hm"), Text(text="Yes."))


@pytest.mark.parametrize("content", [None, "Well.", [{"type": "text", "text": "Well."}]])
def test_what_an_earlier_answer_said_in_refusing_comes_back(content: Any) -> None:
    said = {"role": "assistant", "content": content, "refusal": "No.", "function_call": None}

    before = (Text(text="Well."),) if content else ()
    assert decoded({"messages": [USER, said, USER]}).input[1].parts == (*before, Refusal(text="No."))


def test_a_tool_result_must_answer_a_call() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = {"role": "assistant", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "ok"}

    assert len(decoded({"messages": [USER, asked, result]}).input) == 3
    with pytest.raises(InvalidArgument) as caught:
        decoded({"messages": [USER, asked, result, result]})
    assert caught.value.field == "messages[3].tool_call_id"


def test_equal_requests_have_equal_fingerprints_and_others_have_not() -> None:
    first, again, other = (decoded({"messages": [USER], "seed": seed}).fingerprint for seed in (1, 1, 2))

    assert first == again != other
