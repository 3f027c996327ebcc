"""Every error of the mesh has OpenAI's shape and a status that stock clients understand."""

import json
import re
from collections.abc import Iterator

import grpc
import pytest

from facade.edge.errors import response_of
from tests.deploy.manifests import ROOT
from threadmesh.errors import (
    CallerUnknown,
    ContextLengthExceeded,
    EventLogExpired,
    IdempotencyKeyReused,
    InsufficientScope,
    Internal,
    LinkUntrusted,
    MeshError,
    MethodRefused,
    ModelNotFound,
    Overloaded,
    RateLimitExceeded,
    RequestQuarantined,
    ThreadBusy,
    Unauthenticated,
    Unavailable,
    UnsupportedSchema,
)
from threadmesh.rpc.status import from_rpc_error


def kinds(cls: type[MeshError] = MeshError) -> Iterator[type[MeshError]]:
    for child in cls.__subclasses__():
        yield child
        yield from kinds(child)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_every_error_has_all_four_keys_and_an_error_status(kind: type[MeshError]) -> None:
    response = response_of(kind())

    assert json.loads(bytes(response.body))["error"].keys() == {"message", "type", "param", "code"}
    assert 400 <= response.status_code < 600


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ModelNotFound(), 404, "model_not_found"),
        (ContextLengthExceeded(field="messages"), 400, "context_length_exceeded"),
        (Unauthenticated(), 401, "invalid_api_key"),
        (InsufficientScope(), 403, "insufficient_scope"),
        (RateLimitExceeded(), 429, "rate_limit_exceeded"),
        (ThreadBusy(), 409, "thread_locked"),
        (EventLogExpired(), 410, "event_log_expired"),
        (IdempotencyKeyReused(), 422, "idempotency_key_reused"),
        (RequestQuarantined(), 422, "request_quarantined"),
        (Overloaded(), 429, "overloaded"),
        (Unavailable(), 503, "unavailable"),
        (Internal(), 500, "internal_error"),
        (CallerUnknown(), 500, "caller_unknown"),
        (MethodRefused(), 500, "method_refused"),
        (LinkUntrusted(), 503, "link_untrusted"),
    ],
)
def test_an_error_has_the_status_and_code_that_clients_know(error: MeshError, status: int, code: str) -> None:
    response = response_of(error)

    assert response.status_code == status
    assert json.loads(bytes(response.body))["error"]["code"] == code


@pytest.mark.parametrize(
    ("error", "param", "code"),
    [
        (
            UnsupportedSchema(field="response_format.json_schema.schema_json#/a/maxLength", kind="schema_too_complex"),
            "response_format.json_schema.schema#/a/maxLength",
            "schema_too_complex",
        ),
        (
            UnsupportedSchema(field="tools[3].parameters_json#/$ref", kind="schema_ref_external"),
            "tools[3].function.parameters#/$ref",
            "schema_ref_external",
        ),
        (UnsupportedSchema(), None, "unsupported_schema"),
        (ContextLengthExceeded(field="messages"), "messages", "context_length_exceeded"),
    ],
)
def test_an_error_names_the_place_as_the_client_wrote_it(error: MeshError, param: str | None, code: str) -> None:
    told = json.loads(bytes(response_of(error).body))["error"]

    assert (told["param"], told["code"]) == (param, code)


SCHEMA = "response_format.json_schema.schema_json#/a"


@pytest.mark.parametrize(
    ("path", "field", "param"),
    [
        ("/v1/completions", "sampling.logit_bias[7]", "logit_bias.7"),
        ("/v1/responses", "sampling.logit_bias[7]", "logit_bias.7"),
        ("/v1/chat/completions", "sampling.ignore_eos", "ignore_eos"),
        ("/v1/chat/completions", "sampling.dry.allowed_length", "dry_allowed_length"),
        ("/v1/chat/completions", "sampling.mirostat.mode", "mirostat"),
        ("/v1/chat/completions", "sampling.mirostat.tau", "mirostat_tau"),
        ("/v1/chat/completions", "sampling.xtc.threshold", "xtc_threshold"),
        ("/v1/chat/completions", "messages[2].content[1]", "messages[2].content[1]"),
        ("/v1/chat/completions", "input[2].message.tool_calls[0].arguments_json",
         "messages[2].tool_calls[0].function.arguments"),
        ("/v1/chat/completions", SCHEMA, "response_format.json_schema.schema#/a"),
        ("/v1/responses", SCHEMA, "text.format.schema#/a"),
        ("/v1/responses", "response_format", "text.format"),
        ("/v1/responses", "tools[0].parameters_json#/a", "tools[0].parameters#/a"),
        ("/v1/responses", "input[0].message.parts[1]", "input"),
        ("/v1/responses", "input[0].content[1]", "input[0].content[1]"),
        ("/v1/responses", "messages", "input"),
        ("/v1/embeddings", "inputs[0]", "input[0]"),
        ("/v1/detokenize", "ids[3]", "tokens[3]"),
        ("/v1/threads", "page_token", "after"),
    ],
)  # fmt: skip
def test_a_field_of_the_services_has_its_name_in_the_request(path: str, field: str, param: str) -> None:
    told = json.loads(bytes(response_of(ContextLengthExceeded(field=field), path=path).body))["error"]

    assert told["param"] == param


def test_an_overload_says_when_to_come_back() -> None:
    headers = response_of(Overloaded().after(2.5)).headers

    assert headers["x-should-retry"] == "true"
    assert headers["retry-after-ms"] == "2500"
    assert headers["retry-after"] == "3"  # the header knows whole seconds, and too early is in vain


def test_a_limit_that_is_reached_is_told_in_openais_words() -> None:
    response = response_of(RateLimitExceeded("Slowly.", limited="tokens"))

    told = {"message": "Slowly.", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}
    assert (response.status_code, json.loads(bytes(response.body))["error"]) == (429, told)


def test_a_missing_scope_is_named_where_clients_of_oauth_look_for_it() -> None:
    response = response_of(InsufficientScope(scope="runs.write"))

    assert response.status_code == 403
    assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="runs.write"'


def test_nobody_is_told_to_repeat_a_request_whose_tools_ran() -> None:
    headers = response_of(Unavailable(), tools_were_called=True).headers

    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers


STATUSES = {
    "CANCELLED": (503, "unavailable"),
    "INVALID_ARGUMENT": (400, "invalid_argument"),
    "DEADLINE_EXCEEDED": (504, "deadline_exceeded"),
    "RESOURCE_EXHAUSTED": (429, "overloaded"),
    "ABORTED": (409, "aborted"),
    "UNIMPLEMENTED": (501, "unsupported"),
    "UNAVAILABLE": (503, "unavailable"),
}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_of_grpc_is_a_readable_error_that_tells_nothing_of_the_inside(code: grpc.StatusCode) -> None:
    """Also where no service of ours has set it: a proxy, the library, a peer of another make."""
    details = 'Unexpected <class "ValueError">: /etc/secret at 10.0.0.7:50051 Traceback'
    raw = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    response = response_of(from_rpc_error(raw, peer="inference"))
    told = json.loads(bytes(response.body))["error"]

    assert (response.status_code, told["code"]) == STATUSES.get(code.name, (500, "internal_error"))
    assert len(told["message"].split()) > 2
    assert not re.search(r"/|Traceback|class|10\.0|50051", told["message"])


def test_a_message_that_is_too_large_for_the_services_is_too_large_for_the_client_too() -> None:
    details = "CLIENT: Sent message larger than max (5242885 vs. 4194304)"
    raw = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), grpc.aio.Metadata(), details)

    assert response_of(from_rpc_error(raw, peer="context")).status_code == 413


PAGE = (ROOT / "docs" / "errors.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
ADVICE = {status for row in re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", PAGE, re.MULTILINE) for status in row.split(", ")}
SOURCES = [path for unit in ("facade", "inference_svc", "context_svc") for path in (ROOT / unit).rglob("*.py")]


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds() if kind.__module__.startswith(("threadmesh.errors", "facade"))]
)
def test_every_error_stands_in_the_documents_with_its_status_and_what_to_do(kind: type[MeshError]) -> None:
    response = response_of(kind())
    code = json.loads(bytes(response.body))["error"]["code"]

    assert ROWS[code] == str(response.status_code)
    assert str(response.status_code) in ADVICE


def test_every_code_that_is_written_anywhere_stands_in_the_documents() -> None:
    written = {code for path in SOURCES for code in re.findall(r'kind="(\w+_\w+)"', path.read_text())}
    schemas = {
        code for path in SOURCES for code in re.findall(r'^[A-Z_]+ = "(schema_\w+)"', path.read_text(), re.MULTILINE)
    }

    assert len(written) > 10
    assert written | schemas <= ROWS.keys()
