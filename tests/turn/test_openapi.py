"""The served OpenAPI document and the API hold each other to their word, for thousands of made-up requests."""

import asyncio
import re
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from facade.app import app
from facade.settings import FacadeSettings
from tests.turn.background import in_background
from tests.turn.grammar import GRAMMATICAL, check
from tests.turn.mesh import KEY, running
from threadmesh.telemetry.metrics import new_registry

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 28,
        "auth": {"openapi": {"key": {"bearer": KEY}}},
        "request-timeout": 20.0,
        "generation": {"max-examples": 6, "deterministic": True, "allow-x00": False},
        # No model of the script makes vectors, which is told as it should be.
        # What is refused although it fits the document is looked at below.
        "checks": {
            "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "501"]},
            # A name such as /v1/responses/compact is also an id to the routes of one response; Allow tells of both.
            "allow_header_conformance": {"enabled": False},
            # GET /v1/responses asks for an upgrade to a WebSocket, which OpenAPI cannot describe; 405 has its own test.
            "unsupported_method": {"enabled": False},
            "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "404", "409", "422", "501"]},
        },
        "phases": {"stateful": {"enabled": False}},
    }
)


UNSAID = (
    "needs (stream|logprobs) to be true",
    "(There is no|there are no) (tools?|servers?|response)",
    "names (two functions alike|one server twice)",
    "must have (content|an? )|Send either a prompt",
    "(not fetched|must be base64|holds no known format)",
    "names no call that waits",
    "longer than the model|and the model's context",
    "must be stored",
    "is not part of responses",
    "have token ids",
    "Nobody asked",
    "(Approvals come alone|several responses)",
    "at most 40 bytes",
    "may not have (server_url|connector_id|authorization|headers)",
    "at least 1 item",
    "was not made here",
    "nothing to compact",
    "says anything to a model",
    "best_of must be equal",
    "There is no such token",
    "FACADE_MAX_CHOICES",
    "Say what is to be gone on with",
    "has no token to begin with",
    "A key names one thread",
    "control characters or invisible ones",
)
"""Refusals of requests that fit the document: rules between fields, and what only the content tells."""


@schemathesis.check
def refusals_say_what_the_document_cannot(_: Any, response: Any, case: Any) -> None:
    """Let no request be refused that fits the document, except for a rule that a schema cannot state."""
    if response.status_code in (400, 422) and case.meta and case.meta.generation.mode.is_positive:
        message = response.json()["error"]["message"]
        assert re.search("|".join(UNSAID), message), f"{message}: say so in the schema, or in UNSAID if no schema can"


@schemathesis.check
def streams_obey_the_grammar(_: Any, response: Any, case: Any) -> None:
    """Let every stream end as it must."""
    streams = response.headers.get("content-type", [""])[0].startswith("text/event-stream")
    if streams and case.path.startswith(GRAMMATICAL):
        check(response.content.decode(), resumed=case.method == "GET")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with in_background(partial(running, tmp_path_factory.mktemp("mesh"), turn_seconds=10, answer_tokens=60)) as address:
        yield address


async def document() -> dict[str, Any]:
    """Give the document of a facade with nobody behind it: what it says does not depend on that."""
    async with app(FacadeSettings(), new_registry()) as built:
        return built.openapi()


api = schemathesis.openapi.from_dict(asyncio.run(document()), config=CONFIG)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Keep to what the document can only say in words."""
    if not case.meta.generation.mode.is_positive:
        return
    if "x-thread-key" in case.headers:  # a thread is named by its key or by its id
        case.headers.pop("x-thread-id", None)
        case.headers["x-thread-key"] = uuid.uuid4().hex  # one thread would grow too long with all of these
    if "idempotency-key" in case.headers:  # another request has another key
        case.headers["idempotency-key"] = uuid.uuid4().hex
    for token in ("after", "starting_after"):  # places in a list are given by the page before
        case.query.pop(token, None)


@api.parametrize()
def test_every_answer_is_as_the_document_says(case: Any, url: str) -> None:
    case.call_and_validate(base_url=url)
