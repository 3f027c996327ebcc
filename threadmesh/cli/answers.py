"""The facade's REST API as the terminal client uses it: a request goes out, the pieces of its answer come in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from threadmesh.cli.exits import NotRunning
from threadmesh.cli.output import one_line
from threadmesh.cli.sse import EventReader
from threadmesh.errors import Code, MeshError, Unavailable

_TIMEOUT = httpx2.Timeout(10.0, read=300.0)
"""Between two pieces of an answer lies at most the reading of a long prompt on a slow machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerText:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A piece of the model's thinking."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """The mesh calls a tool."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """A tool says how far it is, in its own unit; `total` is None when it does not know."""

    call_id: str
    name: str
    progress: float
    total: float | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
    """A tool ended after `seconds`; `output` is what the model reads, or why there is nothing to read."""

    call_id: str
    name: str
    outcome: str
    output: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The answer ended; `reason` is OpenAI's `finish_reason`."""

    reason: str


Piece = AnswerText | Thinking | ToolStarted | ToolProgress | ToolFinished | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One chat request; `tools` is `none`, `all` or names with commas, `tool_choice` is OpenAI's or a tool's name."""

    messages: tuple[dict[str, str], ...] = ()
    model: str = ""
    thread_key: str = ""
    tools: str = "none"
    tool_choice: str = ""
    max_tokens: int | None = None

    def body(self) -> dict[str, Any]:
        """Give the request's JSON."""
        body: dict[str, Any] = {"stream": True, "messages": list(self.messages)}
        if self.model:
            body["model"] = self.model
        if self.thread_key:  # not as a header: a key may hold any characters
            body["metadata"] = {"thread_key": self.thread_key}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.tool_choice in {"auto", "none", "required"}:
            body["tool_choice"] = self.tool_choice
        elif self.tool_choice:
            body["tool_choice"] = {"type": "function", "function": {"name": self.tool_choice}}
        return body


class FacadeClient:
    """Asks questions at `url`; `key` is the bearer token, empty where none is needed."""

    def __init__(self, url: str, *, key: str = "") -> None:
        self._url = url
        self._key = key

    @contextmanager
    def ask(self, question: Question) -> Iterator[Iterator[Piece]]:
        """Give the pieces of the answer as they come; leaving the block early stops the answer.

        Raises `NotRunning` when nothing listens at the URL, `Unavailable` when the answer breaks off, and a `MeshError`
        with the API's own words for everything it refuses.
        """
        headers = _headers(question, self._key)
        try:
            with (
                httpx2.Client(timeout=_TIMEOUT, trust_env=False) as client,
                client.stream(
                    "POST", f"{self._url}/v1/chat/completions", json=question.body(), headers=headers
                ) as response,
            ):
                if response.status_code != httpx2.codes.OK:
                    response.read()
                    raise refusal(response.status_code, response.text)
                yield pieces(response.iter_bytes())
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NotRunning(f"Nothing answers at {self._url}; start the mesh with `threadmesh up`.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            words = one_line(str(error)) or type(error).__name__
            raise Unavailable(f"The connection to {self._url} broke off ({words}); ask again.") from error


def pieces(chunks: Iterator[bytes]) -> Iterator[Piece]:
    """Read the pieces of an answer from an SSE body.

    Raises `MeshError` for an error that the stream carries, and `Unavailable` when it ends without `[DONE]`.
    """
    reader = EventReader()
    names: dict[str, str] = {}
    for chunk in chunks:
        for event in reader.feed(chunk):
            if event.data == "[DONE]":
                return
            yield from _pieces_of(_object(event.data), names)
    raise Unavailable("The answer broke off before its end; ask again.")


def refusal(status: int, body: str) -> MeshError:
    """Give the error that an OpenAI error body describes."""
    try:
        stated = json.loads(body)["error"]
        message, code = str(stated["message"]), str(stated.get("code") or stated.get("type") or "")
    except (ValueError, KeyError, TypeError):
        message, code = one_line(body, limit=200) or "no reason given", ""
    kind = Unavailable if status in {502, 503, 504} else MeshError
    error = kind(f"{one_line(message)} (HTTP {status}{f', {code}' if code else ''})")
    error.code = Code.UNAVAILABLE if kind is Unavailable else Code.UNKNOWN
    return error


def _headers(question: Question, key: str) -> dict[str, str]:
    headers = {
        "Accept": "text/event-stream",
        "X-Threadmesh-Events": "1",
        "X-Threadmesh-Tools": question.tools,
        "X-Threadmesh-On-Disconnect": "cancel",
    }
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _object(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError as error:
        raise Unavailable("The answer is not what the API promises; is this URL a threadmesh facade?") from error
    return chunk if isinstance(chunk, dict) else {}


def _pieces_of(chunk: dict[str, Any], names: dict[str, str]) -> Iterator[Piece]:
    if stated := chunk.get("error"):
        raise MeshError(one_line(str(stated.get("message") if isinstance(stated, dict) else stated)))
    if isinstance(event := chunk.get("threadmesh"), dict):
        yield from _tool_piece(event, names)
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if thinking := delta.get("reasoning_content") or delta.get("reasoning"):
            yield Thinking(text=thinking)
        if text := delta.get("content") or delta.get("refusal"):
            yield AnswerText(text=text)
        if reason := choice.get("finish_reason"):
            yield Ended(reason=reason)


def _tool_piece(event: dict[str, Any], names: dict[str, str]) -> Iterator[Piece]:
    call_id = str(event.get("call_id", ""))
    name = names.setdefault(call_id, str(event.get("name") or call_id))
    match event.get("event"):
        case "tool.started":
            yield ToolStarted(call_id=call_id, name=name, arguments=_json_text(event.get("arguments", "")))
        case "tool.progress":
            yield ToolProgress(
                call_id=call_id,
                name=name,
                progress=float(event.get("progress") or 0),
                total=event.get("total"),
                message=str(event.get("message") or ""),
            )
        case "tool.finished":
            yield ToolFinished(
                call_id=call_id,
                name=name,
                outcome=str(event.get("outcome", "")),
                output=_json_text(event.get("output") or event.get("error") or ""),
                seconds=float(event.get("seconds") or 0),
            )
        case _:  # an event that only a newer facade knows
            pass


def _json_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
