"""What a request can ask of the mesh, by header or by metadata."""

import pytest
from pydantic import BaseModel

from facade.edge.controls import Controls, controls
from threadmesh.errors import InvalidArgument


def read(headers: dict[str, str] | None = None, metadata: dict[str, str] | None = None) -> Controls:
    return controls(headers or {}, metadata or {}, default_tools="none")


def test_a_plain_request_stays_plain() -> None:
    asked = read()

    assert (asked.tools, asked.events, asked.thread_key, asked.multitask) == ("none", False, "", "enqueue")
    assert asked.cancel_on_disconnect


def test_a_header_wins_over_metadata() -> None:
    assert read({"x-thread-key": "a"}, {"thread_key": "b"}).thread_key == "a"


def test_a_run_in_a_thread_goes_on_without_its_reader_unless_asked() -> None:
    assert not read(metadata={"thread_key": "a"}).cancel_on_disconnect
    assert read(metadata={"thread_key": "a", "on_disconnect": "cancel"}).cancel_on_disconnect


def test_a_run_with_a_key_goes_on_without_its_reader_unless_asked() -> None:
    assert not read({"idempotency-key": "a"}).cancel_on_disconnect
    assert not read(metadata={"idempotency_key": "a"}).cancel_on_disconnect
    assert read({"idempotency-key": "a", "x-threadmesh-on-disconnect": "cancel"}).cancel_on_disconnect


class Body(BaseModel):
    """A request."""

    text: str = "hello"


@pytest.mark.parametrize("header", ["x-thread-key", "x-thread-id", "x-threadmesh-tools"])
def test_where_a_request_belongs_and_what_it_may_do_make_it_another(header: str) -> None:
    plain, one, two = (read(headers).fingerprint(Body()) for headers in ({}, {header: "a"}, {header: "b"}))

    assert len({plain, one, two}) == 3
    assert read({header: "a"}).fingerprint(Body(text="bye")) != one


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("idempotency-key", "k"),
        ("x-threadmesh-events", "1"),
        ("x-threadmesh-on-disconnect", "continue"),
        ("x-threadmesh-multitask", "reject"),
    ],
)
def test_how_a_request_is_read_and_waits_does_not_make_it_another(header: str, value: str) -> None:
    assert read({header: value}).fingerprint(Body()) == read().fingerprint(Body())


@pytest.mark.parametrize("key", ['"quoted"', "quoted"])
def test_an_idempotency_key_may_be_quoted(key: str) -> None:
    assert read({"idempotency-key": key}).idempotency_key == "quoted"


@pytest.mark.parametrize(
    ("headers", "metadata", "place"),
    [
        ({"idempotency-key": ""}, {}, "idempotency-key"),
        ({"idempotency-key": "x" * 256}, {}, "idempotency-key"),
        ({"idempotency-key": "clé"}, {}, "idempotency-key"),
        ({}, {"idempotency_key": "a\nb"}, "metadata.idempotency_key"),
        ({}, {"events": "yes"}, "metadata.events"),
        ({"x-threadmesh-multitask": "race"}, {}, "x-threadmesh-multitask"),
        ({"x-thread-key": "k" * 513}, {}, "x-thread-key"),
        ({"x-thread-key": "k"}, {"thread_id": "t"}, "metadata.thread_id"),
    ],
)
def test_a_wrong_control_is_refused_with_its_place(
    headers: dict[str, str], metadata: dict[str, str], place: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(headers, metadata)

    assert caught.value.field == place
