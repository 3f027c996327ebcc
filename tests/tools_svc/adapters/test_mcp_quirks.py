"""Each quirk alone."""

from pathlib import Path
from typing import Any

import pytest

from tools_svc.adapters.mcp_quirks import QUIRKS, mended, missing

INITIALIZE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "serverInfo": {"name": "s", "version": "1"},
}
BARE = {"protocolVersion": "2025-11-25", "capabilities": {}}
ANSWER: dict[str, Any] = {"content": [{"type": "text", "text": "fine"}]}


@pytest.mark.parametrize("quirk", QUIRKS)
@pytest.mark.parametrize("result", [INITIALIZE, ANSWER, {}, {"tools": []}, {"content": "text"}, {"server": "s"}])
def test_a_quirk_leaves_alone_what_the_protocol_knows_and_what_it_is_not_about(
    quirk: str, result: dict[str, Any]
) -> None:
    assert mended(result, [quirk]) is result


@pytest.mark.parametrize(
    ("server", "info"),
    [
        ({"server": {"name": "bot", "version": "1.0"}}, {"name": "bot", "version": "1.0"}),
        ({"server": {"name": "bot", "version": 1}}, {"name": "bot", "version": "1"}),
        ({"server": "bot"}, {"name": "bot", "version": "unknown"}),
        ({}, {"name": "unknown", "version": "unknown"}),
    ],
)
def test_server_info_takes_the_name_from_where_it_is(server: dict[str, Any], info: dict[str, str]) -> None:
    assert mended(BARE | server, ["server_info"])["serverInfo"] == info


@pytest.mark.parametrize("version", ["1.0", "", 1, ["2025-11-25"], "2025-11-26"])
def test_protocol_version_takes_a_version_that_never_was_for_the_one_asked_for(version: Any) -> None:
    result = mended(INITIALIZE | {"protocolVersion": version}, ["protocol_version"])

    assert result == INITIALIZE


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18"])
def test_protocol_version_leaves_older_revisions_alone(version: str) -> None:
    result = INITIALIZE | {"protocolVersion": version}

    assert mended(result, ["protocol_version"]) is result


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"data": {"id": 2**60 + 1}}, '{"id": 1152921504606846977}'),
        ({"json": ["ü"]}, '["ü"]'),
        ({"text": '{"id": 1152921504606846977}'}, '{"id": 1152921504606846977}'),
        ({"text": "no JSON at all"}, "no JSON at all"),
        ({"text": "[" * 100_000}, "[" * 100_000),
        ({"id": 1, "name": "x"}, '{"id": 1, "name": "x"}'),
        ({"data": 0, "annotations": {"priority": 1}}, "0"),
        ({}, "{}"),
    ],
)
def test_json_content_becomes_text(block: dict[str, Any], text: str) -> None:
    result = mended({"content": [{"type": "application/json"} | block]}, ["json_content"])

    assert result["content"] == [{"type": "text", "text": text}]


def test_json_content_is_the_structured_result_when_it_is_one_object() -> None:
    one = {"type": "application/json", "data": {"id": 2**60 + 1}}
    listed = {"type": "application/json", "data": [1]}

    def structured(*blocks: Any, **more: Any) -> Any:
        return mended({"content": list(blocks), **more}, ["json_content"]).get("structuredContent")

    assert structured(one, *ANSWER["content"]) == {"id": 2**60 + 1}
    assert structured(one, structuredContent={"own": 1}) == {"own": 1}
    assert structured(one, one) is None
    assert structured(listed) is None


def test_json_content_keeps_its_place_among_the_others() -> None:
    blocks = [*ANSWER["content"], {"type": "application/json", "data": 1}, *ANSWER["content"]]

    texts = [block["text"] for block in mended({"content": blocks, "isError": True}, ["json_content"])["content"]]

    assert texts == ["fine", "1", "fine"]


def test_the_quirks_that_a_result_needs_are_named() -> None:
    result = {"protocolVersion": "1.0", "capabilities": {}, "server": {"name": "bot"}}

    assert missing(result, []) == ("server_info", "protocol_version")
    assert missing(mended(result, ["server_info"]), ["server_info"]) == ("protocol_version",)
    assert missing(ANSWER, []) == ()


def test_every_quirk_is_explained_in_one_sentence() -> None:
    assert all(quirk.meaning.endswith(".") and ". " not in quirk.meaning for quirk in QUIRKS.values())


def test_every_quirk_is_documented_in_its_own_words() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "tools.md").read_text()

    assert all(f"| `{name}` | {quirk.meaning} |" in documented for name, quirk in QUIRKS.items())
