import io
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.cli.conftest import CommandLine
from tests.cli.servers import Api, open_api
from threadmesh.cli.answers import FacadeClient, Question, refusal
from threadmesh.cli.chat import Conversation, Screen, ask, converse
from threadmesh.cli.exits import NotRunning
from threadmesh.cli.output import stderr
from threadmesh.cli.ports import free_port
from threadmesh.errors import MeshError, Unavailable


def text(content: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


def event(kind: str, **facts: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {}}], "threadmesh": {"event": kind, "call_id": "c1", **facts}}


@pytest.fixture
def api() -> Iterator[Api]:
    with open_api() as opened:
        opened.stream(text("Hel"), text("lo\u2028", "stop"), "[DONE]")
        yield opened


def test_an_answer_is_written_as_it_comes(threadmesh: CommandLine, api: Api) -> None:
    ran = threadmesh("chat", "--once", "Hi", "--url", api.url)

    assert ran.status == 0
    assert ran.out == "Hello\u2028\n"
    assert ran.err == ""
    assert api.asked == [{"stream": True, "messages": [{"role": "user", "content": "Hi"}]}]


def test_stdin_is_asked_when_it_is_no_terminal(
    threadmesh: CommandLine, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("From a pipe\n"))

    threadmesh("chat", "--url", api.url)

    assert api.asked[0]["messages"] == [{"role": "user", "content": "From a pipe"}]


def test_an_empty_stdin_is_wrong_usage(threadmesh: CommandLine, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    assert threadmesh("chat", "--url", api.url).status == 2


def test_what_the_options_ask_for_is_in_the_request(
    threadmesh: CommandLine, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACADE_API_KEYS", "secret,other")
    options = [
        "--thread",
        "ich:größe",
        "--tools",
        "all",
        "--tool-choice",
        "time__now",
        "--model",
        "m",
        "--system",
        "Be brief.",
    ]

    threadmesh("chat", "--once", "Hi", "--max-tokens", "9", "--url", api.url, *options)

    assert api.asked == [
        {
            "stream": True,
            "model": "m",
            "max_tokens": 9,
            "metadata": {"thread_key": "ich:größe"},
            "tool_choice": {"type": "function", "function": {"name": "time__now"}},
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        }
    ]
    assert api.headers[0]["X-Threadmesh-Events"] == "1"
    assert api.headers[0]["X-Threadmesh-Tools"] == "all"
    assert api.headers[0]["Authorization"] == "Bearer secret"


def test_tool_calls_are_shown_apart_from_the_answer(threadmesh: CommandLine, api: Api) -> None:
    api.stream(
        event("tool.started", name="time__now", arguments='{"zone": "UTC"}', seq=1),
        event("tool.progress", progress=1, total=2, message="half"),
        event("tool.progress", progress=3),
        event("tool.finished", outcome="succeeded", output="noon\x1b[2J", seconds=0.25),
        event("tool.finished", outcome="failed", output="", error="It is closed.", seconds=1),
        event("tool.somethingnew"),
        text("It is noon.", "length"),
        "[DONE]",
    )

    ran = threadmesh("chat", "--once", "Hi", "--url", api.url)

    assert ran.out == "It is noon.\n"
    assert ran.err.splitlines() == [
        '→ time__now {"zone": "UTC"}',
        "… time__now 1/2 half",
        "… time__now 3",
        "✓ time__now succeeded after 0.25 s: noon[2J",
        "✗ time__now failed after 1.00 s: It is closed.",
        "(cut off at the token limit)",
    ]


@pytest.mark.parametrize(("status", "expected"), [(400, 1), (401, 1), (404, 1), (429, 1), (500, 1), (503, 3)])
def test_a_refusal_is_one_line_in_the_apis_own_words(
    threadmesh: CommandLine, api: Api, status: int, expected: int
) -> None:
    api.status, api.body = status, b'{"error": {"message": "No, because.", "type": "t", "code": "some_code"}}'

    ran = threadmesh("chat", "--once", "Hi", "--url", api.url)

    assert ran.status == expected
    assert ran.err == f"error: No, because. (HTTP {status}, some_code)\n"


def test_a_refusal_in_another_shape_is_quoted() -> None:
    assert refusal(502, "<h1>Bad\nGateway</h1>").message == "<h1>Bad Gateway</h1> (HTTP 502)"
    assert isinstance(refusal(502, ""), Unavailable)


def test_an_error_inside_the_stream_ends_the_answer(threadmesh: CommandLine, api: Api) -> None:
    api.stream(text("Hel"), {"error": {"message": "The engine is gone."}})

    ran = threadmesh("chat", "--once", "Hi", "--url", api.url)

    assert (ran.status, ran.out, ran.err) == (1, "Hel\n", "error: The engine is gone.\n")


def test_an_answer_without_its_end_is_an_error(threadmesh: CommandLine, api: Api) -> None:
    api.stream(text("Hel"))

    ran = threadmesh("chat", "--once", "Hi", "--url", api.url)

    assert ran.status == 3
    assert "broke off" in ran.err


def test_an_answer_that_is_no_json_is_an_error(threadmesh: CommandLine, api: Api) -> None:
    api.stream("hello")

    assert "is this URL a threadmesh facade" in threadmesh("chat", "--once", "Hi", "--url", api.url).err


def test_a_mesh_that_is_not_there_ends_with_3_and_what_to_do() -> None:
    client = FacadeClient(f"http://127.0.0.1:{free_port('127.0.0.1')}")

    with pytest.raises(NotRunning, match="threadmesh up"):
        ask(client, Question(messages=({"role": "user", "content": "Hi"},)), Screen(io.StringIO(), stderr()))


class Person:
    """Types these lines, presses Ctrl-C where it says so, and leaves with Ctrl-D."""

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self._lines = iter(lines)

    def __call__(self, prompt: str) -> str:
        line = next(self._lines, EOFError)
        if isinstance(line, str):
            return line
        raise line


def test_without_a_thread_everything_said_is_sent_again(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation(template=Question(), system="Be brief.")

    converse(FacadeClient(api.url), conversation, read=Person("One", "", KeyboardInterrupt, "Two"))

    roles = [[message["role"] for message in asked["messages"]] for asked in api.asked]
    assert roles == [["system", "user"], ["system", "user", "assistant", "user"]]
    assert capsys.readouterr().out.count("Hello") == 2


def test_with_a_thread_only_what_is_new_is_sent(api: Api) -> None:
    conversation = Conversation(template=Question(thread_key="k"), system="Be brief.")

    converse(FacadeClient(api.url), conversation, read=Person("One", "Two"))

    roles = [[message["role"] for message in asked["messages"]] for asked in api.asked]
    assert roles == [["system", "user"], ["user"]]


def test_an_error_ends_the_answer_but_not_the_conversation(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.status, api.body = 400, b"{}"
    conversation = Conversation(template=Question())

    converse(FacadeClient(api.url), conversation, read=Person("One", "Two"))

    assert capsys.readouterr().err.count("error: {} (HTTP 400)") == 2
    assert conversation.said == []


def test_commands_change_how_the_next_question_is_asked(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation(template=Question(thread_key="k"))
    person = Person("One", "/tools all", "/call required", "/new", "/what", "Two", "/quit", "Three")

    converse(FacadeClient(api.url), conversation, read=person)

    assert [len(asked["messages"]) for asked in api.asked] == [1, 1]
    assert api.headers[1]["X-Threadmesh-Tools"] == "all"
    assert api.asked[1]["tool_choice"] == "required"
    assert "metadata" not in api.asked[1]
    assert "/tools none|all" in capsys.readouterr().err


class Interrupted(io.StringIO):
    """A screen at which the person presses Ctrl-C when the first text appears."""

    def write(self, text: str) -> int:
        if text == "Hel":
            raise KeyboardInterrupt
        return super().write(text)


def test_ctrl_c_stops_the_answer_and_not_the_conversation(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", Interrupted())
    conversation = Conversation(template=replace(Question(), tools="none"))

    converse(FacadeClient(api.url), conversation, read=Person("One", "Two"))

    assert len(api.asked) == 2
    assert capsys.readouterr().err.count("(stopped)") == 2


def test_an_unknown_error_of_the_api_is_a_mesh_error() -> None:
    assert type(refusal(418, "tea")) is MeshError
