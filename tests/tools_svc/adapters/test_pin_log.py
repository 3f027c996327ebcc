"""How much is written of what happens to many tools at once."""

from datetime import UTC, datetime

from structlog.testing import capture_logs

from tools_svc.adapters.pin_log import MOST_LINES, PinLog, log_suspicious
from tools_svc.domain.pin import Pin


def pins(count: int) -> list[Pin]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Pin(server="s", tool=f"t{each}", definition_hash="h", definition_json="{}", pinned_at=now)
        for each in range(count)
    ]


def test_each_of_a_few_tools_has_its_line() -> None:
    with capture_logs() as lines:
        PinLog().pinned(pins(MOST_LINES), server_known=False)

    assert [line["tool"] for line in lines] == [f"s__t{each}" for each in range(MOST_LINES)]


def test_of_very_many_tools_the_first_have_theirs_and_one_more_tells_how_many_there_are() -> None:
    with capture_logs() as lines:
        PinLog().accepted(pins(2_000))
        log_suspicious([(f"t{each}", "it is cut") for each in range(2_000)])

    assert len(lines) == 2 * (MOST_LINES + 1)
    assert [(line["of"], line["tools"]) for line in lines if line["event"] == "tool.and_more"] == [
        ("tool.definition_accepted", 1_980),
        ("tool.suspicious", 1_980),
    ]
