"""Whatever goes wrong behind the facade reaches the client as one readable error with a cause."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio

from inference_svc.edge.servicer import InferenceServicer
from tests.turn.engine import running_with
from tests.turn.grammar import check
from tests.turn.mesh import KEY
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.errors import Overloaded

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "/etc/secret at 10.0.0.7"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


class Failing(InferenceServicer):
    """The real servicer, whose answers go wrong in the way, and as late, as the question says: `cut 2`."""

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        way, _, events = request.messages[-1].parts[0].text.partition(" ")
        async with aclosing(super().Generate(request, context)) as responses:  # type: ignore[type-var]  # a generator
            async for response in responses:
                if response.sequence > int(events or 0):
                    await self._fail(way, context)
                    return
                yield response

    async def _fail(self, way: str, context: Any) -> None:
        match way:
            case "cut":
                return
            case "defect":
                raise ValueError(f"secret {SECRET}")
            case "overload":
                raise Overloaded
            case status:
                await context.abort(grpc.StatusCode[status], f"{SECRET} Traceback")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx2.AsyncClient]:
    directory = tmp_path_factory.mktemp("mesh")
    async with running_with(Failing, directory, turn_seconds=20, workshop=False) as (mesh, _):
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(base_url=mesh.url, timeout=30, headers=headers) as client:
            yield client


def body(path: str, text: str, **more: Any) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"input": text}
    return {"model": "scripted", **said, **more}


def error_of(text: str) -> dict[str, Any]:
    """Give the error that a stream ends with."""
    last = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: {")][-1]
    told = json.loads(last)
    return dict(told.get("error") or told["response"]["error"])


OF_RESPONSES = ("server_error", "rate_limit_exceeded")
WAYS = [
    ("cut 3", 503, "backend_unavailable", "cut off"),
    ("defect 0", 500, "internal_error", "log"),
    ("defect 3", 500, "internal_error", "log"),
    ("INTERNAL 3", 500, "internal_error", "log"),
    ("UNKNOWN 0", 500, "internal_error", "log"),
    ("DATA_LOSS 3", 500, "internal_error", "log"),
    ("PERMISSION_DENIED 0", 500, "internal_error", "log"),
    ("UNIMPLEMENTED 0", 501, "unsupported", "does not offer"),
    ("RESOURCE_EXHAUSTED 3", 429, "overloaded", "Too many"),
    ("overload 0", 429, "overloaded", "Too many"),
]


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize(("way", "cause"), [(way, cause) for way, *cause in WAYS], ids=[way for way, *_ in WAYS])
async def test_it_is_one_error_with_its_cause(
    http: httpx2.AsyncClient, path: str, way: str, cause: tuple[int, str, str]
) -> None:
    status, code, words = cause
    whole = await http.post(path, json=body(path, way))
    stream = await http.post(path, json=body(path, way, stream=True))

    told = [whole.json()["error"]]
    assert whole.status_code == status
    if stream.headers["content-type"].startswith("text/event-stream"):
        check(stream.text)
        assert ("[DONE]" in stream.text) == (path == RESPONSES)
        told.append(error_of(stream.text))
    else:
        assert stream.status_code == status
        told.append(stream.json()["error"])
    for error in told:
        assert error.get("reason", error["code"]) == code
        assert error["code"] == code or error["code"] in OF_RESPONSES
        assert words in error["message"]
    for text in (whole.text, stream.text):
        assert not any(secret in text for secret in (SECRET, "Traceback", "ValueError", "/etc", "File "))


async def test_an_answer_without_a_finish_is_no_answer_whatever_it_said(http: httpx2.AsyncClient) -> None:
    stream = await http.post(CHAT, json=body(CHAT, "cut 3", stream=True))

    assert '"content":"You' in stream.text
    assert '"finish_reason":"' not in stream.text
    assert error_of(stream.text)["code"] == "backend_unavailable"
