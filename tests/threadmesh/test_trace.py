"""Traces as callers give them: what is passed on, and what is ignored."""

import pytest

from threadmesh.telemetry.trace import traceparent_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_trace_is_passed_on_as_it_is() -> None:
    assert traceparent_of(f"00-{TRACE}-{SPAN}-01") == f"00-{TRACE}-{SPAN}-01"


def test_of_a_version_to_come_the_known_fields_are_passed_on() -> None:
    assert traceparent_of(f"cc-{TRACE}-{SPAN}-01-what-will-be") == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_w3c_calls_invalid_is_ignored(given: str) -> None:
    assert traceparent_of(given) == ""
