"""The OpenAPI document: whole, true to itself, with an example wherever something is sent, for every route."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from facade.app import app
from facade.domain.rate_limits import LIMITS
from facade.edge.errors import body_of
from facade.settings import FacadeSettings
from tests.facade.edge.test_errors import kinds
from threadmesh.errors import MeshError, RateLimitExceeded
from threadmesh.telemetry.metrics import new_registry


async def document() -> dict[str, Any]:
    """Give the document of a facade with nobody behind it: what it says does not depend on that."""
    async with app(FacadeSettings(), new_registry()) as built:
        return built.openapi()


DOCUMENT = asyncio.run(document())
OPERATIONS = [
    pytest.param(path, operation, id=f"{method.upper()} {path}")
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path.startswith("/v1/")
]
ERRORS = ["400", "401", "404", "429", "500", "503"]


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def bodies() -> Iterator[Any]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                yield pytest.param(content, id=f"{method.upper()} {path}")


def test_it_is_valid() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_every_reference_leads_somewhere_and_names_are_unique() -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))):
        place: Any = DOCUMENT
        for step in reference.split("/"):
            place = place[step]
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))


def test_every_bound_of_a_number_is_one_that_validators_know() -> None:
    assert not re.search(r'"(ge|gt|le|lt)":', json.dumps(DOCUMENT["components"]["schemas"]))


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_every_route_says_who_may_ask_what_comes_and_what_goes_wrong(path: str, operation: dict[str, Any]) -> None:
    assert operation["security"] == [{"key": []}]
    assert operation["summary"]
    assert operation["responses"].keys() >= {*ERRORS, *(["409", "422"] if "requestBody" in operation else [])}
    for status, response in operation["responses"].items():
        if status >= "400":
            assert response == {"$ref": f"#/components/responses/Error{status}"}
    for media, content in operation["responses"]["200"]["content"].items():
        told = content["schema"]
        told = DOCUMENT["components"]["schemas"][told["$ref"].split("/")[-1]] if "$ref" in told else told
        shown = content.get("example") or content.get("examples") or told.get("examples")
        assert shown, f"{path} shows no {media}: describe it with openapi.answer(), its model with an example"


def test_parts_of_messages_are_those_of_their_own_route() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["ImagePart"]["properties"]["type"]["const"] == "image_url"
    assert schemas["ImageContent"]["properties"]["type"]["const"] == "input_image"


@pytest.mark.parametrize("content", list(bodies()))
def test_every_body_has_examples_that_fit_its_schema(content: dict[str, Any]) -> None:
    assert content.get("examples"), "give request_body() an example of this route's body (facade/edge/examples.py)"
    for example in content["examples"].values():
        validator(content["schema"]).validate(example["value"])


@pytest.mark.parametrize(
    "name", [name for name, each in DOCUMENT["components"]["schemas"].items() if "examples" in each]
)
def test_every_example_of_an_answer_fits_its_schema(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    for example in schema["examples"]:
        validator(schema).validate(example)


def test_every_error_has_openais_shape_and_never_the_frameworks() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        content = response["content"]["application/json"]
        validator(content["schema"]).validate(content["example"])
    assert not validator({"$ref": "#/components/schemas/ErrorAnswer"}).is_valid({"detail": "Not Found"})
    assert "HTTPValidationError" not in json.dumps(DOCUMENT)


@pytest.mark.parametrize(
    "error",
    [
        *(kind() for kind in kinds() if kind.__module__.startswith(("threadmesh.errors", "facade"))),
        *(RateLimitExceeded(limited=limit) for limit in LIMITS),
    ],
    ids=lambda error: error.facts.get("limited", type(error).__name__),
)
def test_every_error_that_is_told_is_one_that_is_described(error: MeshError) -> None:
    validator({"$ref": "#/components/schemas/ErrorAnswer"}).validate(body_of(error))
