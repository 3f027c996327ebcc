import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools_svc.domain.naming import LONGEST, is_server_name, public_name, server_of

SERVERS = st.from_regex(r"[a-zA-Z0-9-]{1,15}(_[a-zA-Z0-9-]{1,15})?", fullmatch=True)


def test_a_plain_name_stays_readable() -> None:
    assert public_name("time", "get_current_time") == "time__get_current_time"


@given(SERVERS, st.text(min_size=1))
def test_every_name_fits_every_model_api_and_leads_back_to_its_server(server: str, tool: str) -> None:
    name = public_name(server, tool)

    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)
    assert server_of(name) == server
    assert public_name(server, tool) == name


def test_names_that_become_alike_stay_apart() -> None:
    names = {public_name("s", tool) for tool in ("a.b", "a/b", "a b", "a_b", "a" * 100, "a" * 101)}

    assert len(names) == 6
    assert max(map(len, names)) <= LONGEST


@given(SERVERS, st.text(min_size=1))
def test_no_tool_can_bear_the_name_that_another_one_is_given(server: str, tool: str) -> None:
    """Who could take the name of a tool would get its calls, without its approval and its pin."""
    given = public_name(server, tool)
    literally = given.removeprefix(f"{server}__")

    assert literally == tool or public_name(server, literally) != given


def test_a_name_that_ends_like_a_given_one_gets_an_end_of_its_own() -> None:
    given = public_name("ft", "send.message")

    assert given == "ft__send_message_0b9a2d65"
    assert public_name("ft", "send_message_0b9a2d65").startswith("ft__send_message_0b9a2d65_")


@pytest.mark.parametrize("name", ["a__b", "a_", "_a", "", "a.b", "a b", "x" * 33, "ü"])
def test_a_server_name_that_could_be_mistaken_is_refused(name: str) -> None:
    assert not is_server_name(name)


@pytest.mark.parametrize("name", ["git", "my-server", "my_server", "A1"])
def test_an_ordinary_server_name_is_taken(name: str) -> None:
    assert is_server_name(name)
