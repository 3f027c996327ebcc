"""What an operator does with a running mesh: look inside, kill parts of it, stop it and start it again."""

import json
import os
import signal
from functools import partial
from typing import Any

import pytest
from openai import OpenAI

from tests.e2e.mesh import MODEL, Mesh, eventually

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

SERVICES = {
    "inference": ["threadmesh.api.inference.v1.InferenceService"],
    "tools": ["threadmesh.api.tools.v1.ToolsService"],
    "context": ["threadmesh.api.context.v1.ThreadsService", "threadmesh.api.context.v1.RunsService"],
}
QUESTION = json.dumps({"messages": [{"role": "ROLE_USER", "parts": [{"text": "Say hello."}]}], "max_tokens": 6})


def ask(mesh: Mesh, text: str, **metadata: str) -> Any:
    with mesh.openai() as client:
        return _ask(client, text, metadata)


def _ask(client: OpenAI, text: str, metadata: dict[str, str]) -> Any:
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=8, metadata=metadata
    )


@pytest.mark.parametrize("unit", SERVICES)
def test_grpcurl_lists_and_describes_every_service(mesh: Mesh, unit: str) -> None:
    listed = mesh.grpcurl(unit, "list").split()

    assert {*SERVICES[unit], "grpc.health.v1.Health"} <= set(listed)
    for service in SERVICES[unit]:
        assert "option (.google.api.http)" in mesh.grpcurl(unit, f"describe {service}")
    assert "SERVING" in mesh.grpcurl(unit, "grpc.health.v1.Health/Check")


def test_generate_streams_to_grpcurl(mesh: Mesh) -> None:
    said = mesh.grpcurl("inference", "-d", QUESTION, f"{SERVICES['inference'][0]}/Generate")

    assert said.index('"started"') < said.index('"textDelta"') < said.index('"finished"')


def test_grpcurl_sees_which_field_is_wrong(mesh: Mesh) -> None:
    with pytest.raises(AssertionError, match=r'"field":"max_tokens"'):
        mesh.grpcurl("inference", "-d", '{"max_tokens": 0}', f"{SERVICES['inference'][0]}/Generate")


def test_a_request_id_stands_in_the_log_of_every_unit_it_passed(mesh: Mesh, openai: OpenAI) -> None:
    openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What time is it?"}],
        metadata={"tools": "time__get_current_time"},
        tool_choice="required",
        max_tokens=64,
        extra_headers={"X-Request-Id": "find-me-everywhere"},
    )

    for unit in ("facade", "context", "inference", "tools"):
        eventually(partial(_logged, mesh, unit, request_id="find-me-everywhere"))


@pytest.mark.parametrize(
    ("unit", "metric"),
    [
        ("facade", "threadmesh_facade_requests_total"),
        ("inference", "threadmesh_inference_requests_total"),
        ("context", "threadmesh_context_events_appended_total"),
        ("context", "grpc_server_handled_total"),
    ],
)
def test_a_request_moves_a_counter(mesh: Mesh, unit: str, metric: str) -> None:
    before = mesh.metric(unit, metric)
    ask(mesh, "hello")

    assert eventually(lambda: mesh.metric(unit, metric) > before)


def test_the_command_line_chats_and_calls_tools(mesh: Mesh) -> None:
    assert mesh.cli("chat", "--once", "Say hello.", "--max-tokens", "8").strip()
    assert "time__get_current_time" in mesh.cli("tools", "list")
    assert "UTC" in mesh.cli("tools", "call", "time__get_current_time", "timezone=UTC")
    mesh.cli("tools", "call", "time__no_such_tool", status=1)


def test_a_killed_unit_comes_back(mesh: Mesh) -> None:
    (unit,) = [each for each in mesh.status()["units"] if each["name"] == "inference"]
    os.kill(unit["pid"], signal.SIGKILL)

    eventually(
        lambda: all(each["state"] == "serving" and each["pid"] != unit["pid"] for each in mesh.status()["units"])
    )
    assert ask(mesh, "Are you back?").choices[0].message.content


def test_a_thread_outlives_the_mesh(mesh: Mesh) -> None:
    first = ask(mesh, "My name is Ada.", thread_key="e2e:memory")

    mesh.cli("down")
    mesh.cli("status", status=3)
    mesh.up()
    second = ask(mesh, "What is my name?", thread_key="e2e:memory")

    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    shown = mesh.cli("threads", "show", "e2e:memory")
    assert "My name is Ada." in shown
    assert "What is my name?" in shown


def test_a_mesh_that_was_killed_finds_its_threads(mesh: Mesh) -> None:
    ask(mesh, "Remember the milk.", thread_key="e2e:killed")
    status = mesh.status()
    supervisor = json.loads((mesh.directory / "mesh.json").read_text())["supervisor"]["pid"]

    for pid in [supervisor, *(each["pid"] for each in status["units"])]:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(_alive(each["pid"]) for each in status["units"]))
    mesh.up()

    assert "Remember the milk." in mesh.cli("threads", "show", "e2e:killed")
    assert ask(mesh, "What?", thread_key="e2e:killed").choices[0].message.content


def test_the_real_model_summarizes_a_thread_and_its_words_stand_for_the_oldest_turns(mesh: Mesh) -> None:
    for text in ("My name is Ada. ", "I live in Turin. ", "I like green tea. ", "I have a cat. ", "It is old. "):
        ask(mesh, text * 60, thread_key="e2e:summary")
    ask(mesh, "What do I like?", thread_key="e2e:summary")

    done = json.loads(mesh.cli("threads", "summarize", "e2e:summary", "--json"))
    mesh.cli("threads", "pin", "e2e:summary", "0")
    whole = _window(mesh, done["thread"], 1_000_000)
    short = _window(mesh, done["thread"], whole["tokens"] - 1)

    assert done["text"].strip()
    assert done["covers"] == {"first": 0, "last": 9}
    assert "summary" not in whole
    assert int(short["summary"]) == done["sequence"] == 12
    assert short["tokens"] < whole["tokens"]
    said = [message["parts"][0]["text"] for message in short["messages"]]
    assert said[0].startswith("My name is Ada.")
    assert any(each.endswith(done["text"]) for each in said)
    assert ask(mesh, "And where do I live?", thread_key="e2e:summary").choices[0].message.content


def _window(mesh: Mesh, thread_id: str, budget: int) -> dict[str, Any]:
    request = json.dumps({"thread_id": thread_id, "token_budget": budget})
    found: dict[str, Any] = json.loads(
        mesh.grpcurl("context", "-d", request, f"{SERVICES['context'][0]}/AssembleWindow")
    )
    return found


def _logged(mesh: Mesh, unit: str, *, request_id: str) -> bool:
    return any(line.get("request_id") == request_id for line in mesh.log(unit))


def _serves_anew(unit: dict[str, Any], killed: int) -> bool:
    return bool(unit["state"] == "serving" and unit["pid"] != killed)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
