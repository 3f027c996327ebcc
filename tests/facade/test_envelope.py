"""What may surround and fill a request: every route that reads a body refuses the same things in the same words.

The facade stands alone here: whatever is wrong is found before anything is asked of another unit.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from facade.app import app
from facade.settings import FacadeSettings
from tests.facade.test_openapi import DOCUMENT
from tests.turn.mesh import http_server
from threadmesh.telemetry.metrics import new_registry

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY: Any = dict.fromkeys(("inference_target", "tools_target", "context_target"), "127.0.0.1:1")
READING = [
    path.replace("{", "").replace("}", "")
    for path, item in DOCUMENT["paths"].items()
    if "requestBody" in item.get("post", {})
]
WITHOUT = ("approve", "deny", "/conversations", "/threads", "/warm", "/summary")
OPTIONAL = [path for path in READING if path.endswith(WITHOUT)]
JSON = {"content-type": "application/json"}
SAID = {"messages": [{"role": "user", "content": "a"}], "input": "a"}
ANSWERING = ["/v1/chat/completions", "/v1/responses"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        app(FacadeSettings(**NOBODY), new_registry()) as built,
        http_server(built) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


async def refused(http: httpx2.AsyncClient, path: str, body: Any, **headers: str) -> dict[str, Any]:
    response = await http.post(path, content=body, headers={**JSON, **headers})
    assert response.headers["x-request-id"]
    told = response.json()["error"]
    assert told.keys() == {"message", "type", "param", "code"}
    return {"status": response.status_code, **told}


BAD = [
    ("empty", b"", 400, "invalid_json", None),
    ("list", b"[]", 400, "invalid_json", None),
    ("number", b"5", 400, "invalid_json", None),
    ("trailing", b'{"a":1}x', 400, "invalid_json", None),
    ("truncated", b'{"a":', 400, "invalid_json", None),
    ("comment", b'{"a":1} // no', 400, "invalid_json", None),
    ("single quotes", b"{'a':1}", 400, "invalid_json", None),
    ("deep", b'{"a":' + b"[" * 65 + b"]" * 65 + b"}", 400, "json_too_complex", None),
    ("bomb", b'{"a":' + b"[" * 100_000, 400, "json_too_complex", None),
    ("many", json.dumps({"a": [0] * 50_001}).encode(), 400, "json_too_complex", None),
    ("digits", b'{"a":' + b"1" * 4_301 + b"}", 400, "json_too_complex", None),
    ("nan", b'{"a":[NaN]}', 400, "invalid_number", "a[0]"),
    ("infinity", b'{"a":-Infinity}', 400, "invalid_number", "a"),
    ("1e400", b'{"a":1e400}', 400, "invalid_number", "a"),
    ("twice", b'{"a":1,"a":2}', 400, "duplicate_key", None),
    ("twice inside", b'{"a":{"b":1,"b":2}}', 400, "duplicate_key", None),
    ("surrogate", b'{"a":"\\ud800"}', 400, "invalid_unicode", "a"),
    ("latin-1", b'{"a":"\xe4"}', 400, "invalid_unicode", None),
    ("utf-16", '{"a":1}'.encode("utf-16"), 400, "invalid_unicode", None),
    ("utf-32", '{"a":1}'.encode("utf-32"), 400, "invalid_unicode", None),
    ("nul", b'{"a":"\\u0000"}', 400, "invalid_unicode", "a"),
    ("large", b" " * (4 * 1024 * 1024 + 1), 413, "request_too_large", None),
]


@pytest.mark.parametrize("path", READING)
@pytest.mark.parametrize(("body", "told"), [(case[1], case[2:]) for case in BAD], ids=[case[0] for case in BAD])
async def test_what_is_no_json_is_refused(
    http: httpx2.AsyncClient, path: str, body: bytes, told: tuple[Any, ...]
) -> None:
    if not body and path in OPTIONAL:
        body = b" "
    error = await refused(http, path, body)

    assert (error["status"], error["code"], error["param"]) == told
    assert error["type"] == "invalid_request_error"


async def test_broken_json_is_told_with_its_place(http: httpx2.AsyncClient) -> None:
    told = await refused(http, READING[0], b'{\n "a": tru}')

    assert "line 2, column 7" in told["message"]


async def test_a_body_is_counted_as_it_comes(http: httpx2.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"input": "'
        for _ in range(5):
            yield b"a" * 1024 * 1024

    told = await refused(http, "/v1/responses", pieces())

    assert (told["status"], told["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("path", READING)
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=a"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": ""},
        {"content-encoding": "gzip"},
        {"content-encoding": "br"},
    ],
)
async def test_other_media_are_refused(http: httpx2.AsyncClient, path: str, headers: dict[str, str]) -> None:
    told = await refused(http, path, b"{}", **headers)

    assert (told["status"], told["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;odd"])
async def test_json_is_json_whatever_follows(http: httpx2.AsyncClient, kind: str) -> None:
    assert (await refused(http, "/v1/embeddings", b"{}", **{"content-type": kind}))["param"] == "input"


def examples() -> Iterator[Any]:
    for path, item in DOCUMENT["paths"].items():
        if "requestBody" in item.get("post", {}):
            first = next(iter(item["post"]["requestBody"]["content"]["application/json"]["examples"].values()))
            yield path.replace("{", "").replace("}", ""), first["value"]


@pytest.mark.parametrize(("path", "example"), list(examples()))
async def test_an_unknown_field_is_refused_where_that_is_wished(
    http: httpx2.AsyncClient, path: str, example: dict[str, Any]
) -> None:
    told = await refused(http, path, json.dumps({**example, "zeal": 1}).encode(), **{"x-threadmesh-strict": "1"})

    assert (told["status"], told["code"], told["param"]) == (400, "unknown_parameter", "zeal")


INTEGERS = [
    ("/v1/chat/completions", "max_tokens"),
    ("/v1/responses", "max_output_tokens"),
    ("/v1/embeddings", "dimensions"),
]


@pytest.mark.parametrize(("path", "field"), INTEGERS)
@pytest.mark.parametrize("value", [True, "5", 1.5, [1], {}])
async def test_nothing_else_is_taken_for_an_integer(
    http: httpx2.AsyncClient, path: str, field: str, value: Any
) -> None:
    told = await refused(http, path, json.dumps({**SAID, field: value}).encode())

    assert (told["status"], told["code"], told["param"]) == (400, "invalid_type", field)


@pytest.mark.parametrize(("path", "field"), INTEGERS)
@pytest.mark.parametrize("value", ["1.0", "1e3", "7"])
async def test_whole_numbers_are_integers_however_they_are_written(
    http: httpx2.AsyncClient, path: str, field: str, value: str
) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "a"}], "input": "a", field: 0}).replace(
        ": 0", f": {value}"
    )

    assert (await refused(http, path, body.encode()))["status"] == 503


async def test_a_minus_before_nothing_is_nothing(http: httpx2.AsyncClient) -> None:
    body = b'{"messages": [{"role": "user", "content": "a"}], "temperature": -0, "seed": -0}'

    assert (await refused(http, "/v1/chat/completions", body))["status"] == 503


@pytest.mark.parametrize("text", ["\x07\x1b[31m", "\u202eabc", "\u200b\u2060", "\U000e0041", "\x85", "👩‍👩‍👧"])
async def test_odd_characters_may_stand_in_what_is_said(http: httpx2.AsyncClient, text: str) -> None:
    for path, body in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}),
        ("/v1/responses", {"input": text}),
        ("/v1/embeddings", {"input": text}),
    ):
        assert (await refused(http, path, json.dumps(body).encode()))["status"] == 503


@pytest.mark.parametrize("name", ["a\x07", "a\u202eb", "a\u200bb", "a\U000e0041", "a\nb"])
async def test_odd_characters_may_not_stand_in_names(http: httpx2.AsyncClient, name: str) -> None:
    said = {"messages": [{"role": "user", "content": "a"}]}
    function = {"type": "function", "function": {"name": name}}
    for wrong in ({"metadata": {"thread_key": name}}, {"metadata": {"thread_id": name}}, {"tools": [function]}):
        told = await refused(http, "/v1/chat/completions", json.dumps({**said, **wrong}).encode())
        assert told["status"] == 400


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "clé"])
async def test_a_bad_idempotency_key_is_refused(http: httpx2.AsyncClient, key: str) -> None:
    for path in ANSWERING:
        response = await http.post(path, json=SAID, headers=[(b"idempotency-key", key.encode("latin-1"))])
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize(
    "headers", [{"x-a": "a" * 17_000}, {f"x-{number}": "a" for number in range(101)}], ids=["long", "many"]
)
async def test_too_many_headers_are_refused(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    response = await http.get("/v1/models", headers=headers)

    assert (response.status_code, response.json()["error"]["code"]) == (431, "headers_too_large")
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/chat/completions", 405),
        ("DELETE", "/v1/embeddings", 405),
        ("TRACE", "/v1/models", 405),
        ("POST", "/v1/responses/", 404),
        ("POST", "//v1/responses", 404),
        ("POST", "/v1//responses", 404),
        ("GET", "/v1/%2e%2e/etc/passwd", 404),
        ("GET", "/v1/responses/%00", 404),
        ("GET", "/v1/runs/%00", 404),
        ("GET", "/%00", 404),
        ("GET", "/v1/runs/" + "a" * 5_000, 404),
        ("GET", "/v1/runs?limit=many", 400),
        ("GET", "/v1/runs?status=asleep", 400),
        ("GET", "/v1/responses/resp_1?stream=maybe", 400),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=x", 400),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=-2", 400),
    ],
)
async def test_wrong_paths_methods_and_queries_have_openais_shape(
    http: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await http.request(method, path)

    assert response.status_code == status
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}
    assert response.headers["x-should-retry"] == "false"


async def test_a_wrong_query_is_told_by_its_name(http: httpx2.AsyncClient) -> None:
    told = (await http.get("/v1/runs?limit=500")).json()["error"]

    assert (told["param"], told["code"]) == ("limit", "integer_above_max_value")


async def test_a_wrong_method_is_told_all_that_are_right(http: httpx2.AsyncClient) -> None:
    response = await http.put("/v1/responses/resp_1")

    assert response.headers["allow"] == "DELETE, GET, HEAD"


async def test_a_long_path_is_shown_again_in_part(http: httpx2.AsyncClient) -> None:
    unknown, wrong = await http.get(f"/v2/{'x' * 200}"), await http.put(f"/v1/responses/{'x' * 200}")

    assert [each.status_code for each in (unknown, wrong)] == [404, 405]
    assert "x" * 60 in unknown.json()["error"]["message"]
    for each in (unknown, wrong):
        assert "x" * 65 not in each.json()["error"]["message"]
