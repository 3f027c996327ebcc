"""The official client talks to a real model, a real tool and a thread."""

import json
from typing import Any

import httpx2
import pytest
from openai import APIStatusError, AuthenticationError, BadRequestError, NotFoundError, OpenAI

from tests.e2e.mesh import MODEL, Mesh

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]
TIME = "time__get_current_time"


def say(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_the_bundled_model_is_listed(openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == [MODEL]
    assert openai.models.retrieve(MODEL).id == MODEL


def test_an_answer_streams_with_its_usage(openai: OpenAI) -> None:
    stream = openai.chat.completions.create(
        model=MODEL, messages=say("Say hello."), max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = stream

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.strip()
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 1
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}
    assert last.choices == []
    assert last.usage is not None
    assert 0 < last.usage.completion_tokens <= 12


def test_an_answer_comes_as_a_whole(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(model=MODEL, messages=say("Say hello."), max_tokens=12)

    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_seed_repeats_an_answer(openai: OpenAI) -> None:
    def ask() -> str | None:
        answer = openai.chat.completions.create(
            model=MODEL, messages=say("Invent a name."), max_tokens=12, seed=7, temperature=1
        )
        return answer.choices[0].message.content

    assert ask() == ask()


def test_a_response_says_how_the_model_has_drawn(openai: OpenAI) -> None:
    unsaid = openai.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16)
    said = openai.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16, temperature=0.7, top_p=0.5)

    assert (unsaid.temperature, unsaid.top_p) == (0.2, 0.9)  # what its makers recommend
    assert (said.temperature, said.top_p) == (0.7, 0.5)


def test_the_shape_of_the_earlier_orchestrator_is_kept(mesh: Mesh) -> None:
    with mesh.http() as http:
        response = http.post("/v1/chat/completions", json={"messages": say("Say hello."), "max_tokens": 8})

    body = response.json()
    assert response.status_code == 200
    assert body["choices"][0]["message"]["content"]
    assert body["total_ms"] >= body["processing_ms"] > 0
    assert body["prompt_bytes"] == len("Say hello.")
    assert int(response.headers["x-total-time-ms"]) == body["total_ms"]
    assert response.headers["x-prompt-bytes"] == "10"


def test_a_forced_tool_of_the_mesh_is_run_and_its_output_is_in_the_thread(mesh: Mesh, openai: OpenAI) -> None:
    answer = openai.chat.completions.create(
        model=MODEL,
        messages=say("What time is it in Europe/Rome?"),
        metadata={"thread_key": "e2e:tool", "tools": TIME},
        tool_choice={"type": "function", "function": {"name": TIME}},
        temperature=0,
        max_tokens=128,
    )

    assert not answer.choices[0].message.tool_calls
    said = json.loads(mesh.cli("threads", "show", "e2e:tool", "--json"))["items"]
    call, result = said[1]["tool_calls"][0], said[2]["text"]
    assert call["name"] == TIME
    assert json.loads(call["arguments"]).keys() == {"timezone"}
    # The date and the time to the minute, which nobody knows but the tool.
    assert json.loads(result)["datetime"][:16] in (answer.choices[0].message.content or "")


def test_a_tool_of_the_client_is_the_clients_to_run(openai: OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": schema}}

    first = openai.chat.completions.create(
        model=MODEL, messages=say("Weather in Rome?"), tools=[tool], tool_choice="required"
    )
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny, 20 degrees"}
    history: Any = [*say("Weather in Rome?"), message.model_dump(exclude_none=True), result]
    second = openai.chat.completions.create(model=MODEL, messages=history, tools=[tool], max_tokens=16)

    assert second.choices[0].message.content or second.choices[0].message.tool_calls


def test_a_json_schema_shapes_the_answer(openai: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = openai.chat.completions.create(
        model=MODEL,
        messages=say("A person, as JSON."),
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    )

    content = answer.choices[0].message.content
    assert content is not None
    assert httpx2.Response(200, text=content).json().keys() == {"name", "age"}


@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"max_tokens": -1}, BadRequestError, "max_tokens"),
        ({"messages": []}, BadRequestError, "messages"),
        ({"model": "no-such-model"}, NotFoundError, None),
        ({"model": "../../etc/passwd"}, NotFoundError, None),
        ({"messages": say("word " * 20_000)}, BadRequestError, "messages"),
        ({"tool_choice": "required"}, BadRequestError, "tool_choice"),
        ({"metadata": {"thread_id": "thread_none"}}, NotFoundError, None),
        ({"metadata": {"tools": "time__no_such_tool"}}, NotFoundError, None),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"$ref": "http://x/y"}},
                }
            },
            BadRequestError,
            None,
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"type": "string", "pattern": "^a{1,100000}$"}},
                }
            },
            BadRequestError,
            None,
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_raise_what_openais_would(
    openai: OpenAI, change: dict[str, Any], error: type[APIStatusError], param: str | None, stream: bool
) -> None:
    request: dict[str, Any] = {"model": MODEL, "messages": say("hi"), "max_tokens": 4, "stream": stream, **change}

    with pytest.raises(error) as caught:
        openai.chat.completions.create(**request)

    if param:
        assert caught.value.body["param"] == param  # type: ignore[index]  # a JSON object
    assert openai.models.list().data


@pytest.mark.parametrize(
    ("schema", "code", "place"),
    [
        ({"type": "string", "maxLength": 20_000}, "schema_too_complex", "#/maxLength"),
        ({"$ref": "http://x/y"}, "schema_ref_external", "#/$ref"),
        ({"$ref": "#"}, "schema_ref_cycle", "#/$ref"),
        ({"not": {}}, "schema_unsupported", "#/not"),
        ({"type": "string", "pattern": "^(a+)+$"}, "schema_pattern_unsupported", "#/pattern"),
        ({"minimum": 2, "maximum": 1}, "schema_unsatisfiable", "#/maximum"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_is_refused_with_its_code_and_its_place(
    openai: OpenAI, schema: dict[str, Any], code: str, place: str, stream: bool
) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}

    with pytest.raises(BadRequestError) as caught:
        openai.chat.completions.create(model=MODEL, messages=say("hi"), response_format=wanted, stream=stream)
    assert caught.value.code == code
    assert caught.value.param == f"response_format.json_schema.schema{place}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"messages": [{"role": "user", "content": "hi"}], "temperature": NaN}', 400),
        (b'{"messages": [', 400),
        (b"{}", 400),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b"x" * (5 * 1024 * 1024), 413),
    ],
)
def test_bodies_that_are_no_requests_are_refused_in_openais_shape(mesh: Mesh, body: bytes, status: int) -> None:
    with mesh.http() as http:
        response = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})

    assert response.status_code == status
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


def test_a_wrong_key_is_refused(mesh: Mesh) -> None:
    with mesh.openai(key="another-key") as client, pytest.raises(AuthenticationError):
        client.models.list()
