"""Reading retention rules."""

from datetime import timedelta
from pathlib import Path

import pytest

from context_svc.domain.retention import Rule, parse_rules, rule_for, shortest
from threadmesh.cli.config import parse_configuration
from threadmesh.errors import InvalidArgument


def test_rules_stand_apart_by_commas_or_lines() -> None:
    text = """
        discord:vip:*
        discord:* max_age=30d max_items=1000, voice:* max_tokens=20000 max_idle=12h
    """

    assert parse_rules(text) == (
        Rule(pattern="discord:vip:*"),
        Rule(pattern="discord:*", max_age=timedelta(days=30), max_items=1000),
        Rule(pattern="voice:*", max_tokens=20000, max_idle=timedelta(hours=12)),
    )


@pytest.mark.parametrize(
    ("length", "meant"),
    [("90s", timedelta(seconds=90)), ("5m", timedelta(minutes=5)), ("4w", timedelta(weeks=4))],
)
def test_times_have_a_unit(length: str, meant: timedelta) -> None:
    assert parse_rules(f"* max_age={length}")[0].max_age == meant


def test_the_documented_rules_can_be_read() -> None:
    page = Path(__file__).parents[2] / "docs" / "retention.md"
    text = page.read_text("utf-8").partition("```toml\n")[2].partition("```")[0]

    environment = parse_configuration(text, path=page).environment

    assert [rule.pattern for rule in parse_rules(environment["CONTEXT_RETENTION"])] == [
        "discord:archive:*", "discord:*", "voice:*",
    ]  # fmt: skip
    assert environment["CONTEXT_EVENT_SECONDS"] == "86400"


def test_without_rules_everything_is_kept() -> None:
    assert parse_rules(" \n, ") == ()
    assert rule_for("k", ()) is None


def test_the_first_rule_that_matches_counts_and_case_matters() -> None:
    rules = parse_rules("a:[12]*, a:?, * max_items=1")

    assert [rule_for(key, rules) for key in ("a:12", "a:3", "A:1", "a:33")] == [rules[0], rules[1], rules[2], rules[2]]


def test_the_shortest_time_says_how_often_to_look() -> None:
    assert shortest(parse_rules("a max_age=2d max_idle=3h, b max_items=1")) == timedelta(hours=3)
    assert shortest(()) > timedelta(days=10_000)


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("* max_age=30", "rule 1 (`* max_age=30`)", "such as 90m"),
        ("a, b max_age=-1d", "rule 2", "not '-1d'"),
        ("a max_age=0d", "rule 1", "max_age"),
        ("a max_idle=99999999w", "rule 1", "at most 36500d"),
        ("a max_items=0", "rule 1", "above 0"),
        ("a max_items=1k", "rule 1", "not '1k'"),
        ("a max_tokens", "rule 1", "not ''"),
        ("a max_size=1", "rule 1", "max_age, max_idle, max_items, max_tokens"),
        ("a max_items=1 max_items=2", "rule 1", "twice"),
        ("a only=pinned", "rule 1", "only can be summarized, not 'pinned'"),
        ("a only=summarized only=summarized", "rule 1", "only stands there twice"),
        ("max_items=1", "rule 1", "begins with the pattern"),
        ("a\n* max_items=1\nb", "rule 3 (`b`)", "rule 2 matches the same keys"),
        ("a max_items=1, a max_items=2", "rule 2", "never reached"),
    ],
)
def test_a_wrong_rule_is_named_with_what_is_wrong_about_it(text: str, place: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_rules(text)

    assert caught.value.message.startswith(place)
    assert why in caught.value.message
    assert "\n" not in caught.value.message
