"""What is kept of threads, and for how long: rules by the pattern of a thread's key."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

from context_svc.domain.item import Item, ItemKind
from context_svc.domain.told import INSTRUCTIONS
from threadmesh.errors import InvalidArgument

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"([0-9]{1,9})([smhdw])")
_NUMBER = re.compile(r"[0-9]{1,15}")
_FIELDS = {"only": "only_summarized"}
_LONGEST = timedelta(days=36_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is kept of the threads whose key the glob `pattern` matches; what is None does not limit.

    `max_age` is that of a turn's last item, `max_items` and `max_tokens` count all of a thread but instructions,
    summaries and pinned items. A thread that nobody has written to for `max_idle` goes whole. With `only_summarized`
    nothing else goes but what the thread's newest summary stands for.
    """

    pattern: str
    max_age: timedelta | None = None
    max_idle: timedelta | None = None
    max_items: int | None = None
    max_tokens: int | None = None
    only_summarized: bool = False

    def matches(self, key: str) -> bool:
        """Say whether the rule is about the thread of a key."""
        return fnmatchcase(key, self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept: threads as the first matching rule says, the events of ended runs for `event_lifetime`."""

    rules: tuple[Rule, ...] = ()
    event_lifetime: timedelta = timedelta(hours=24)


def stays(item: Item) -> bool:
    """Say whether an item is kept as long as its thread, also when it is not pinned: instructions and summaries are."""
    return item.message.role in INSTRUCTIONS or item.kind is ItemKind.SUMMARY


def rule_for(key: str, rules: Sequence[Rule]) -> Rule | None:
    """Give the first rule that matches a key."""
    return next((rule for rule in rules if rule.matches(key)), None)


def shortest(rules: Sequence[Rule]) -> timedelta:
    """Give the shortest of the rules' times, a hundred years where there is none."""
    times = [time for rule in rules for time in (rule.max_age, rule.max_idle) if time]
    return min(times, default=_LONGEST)


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Read rules such as `discord:* max_age=30d max_items=1000`, apart by commas or line ends; the first match wins.

    Raises `InvalidArgument`, whose message says in which rule something is wrong.
    """
    rules: list[Rule] = []
    lines = [line.strip() for line in re.split(r"[,\n]", text)]
    for number, line in enumerate(filter(None, lines), start=1):
        try:
            rules.append(_parsed(line, rules))
        except ValueError as error:
            raise InvalidArgument(f"rule {number} (`{line[:80]}`): {error}") from error
    return tuple(rules)


def _parsed(line: str, before: Sequence[Rule]) -> Rule:
    pattern, *words = line.split()
    if "=" in pattern:
        raise ValueError("a rule begins with the pattern of keys, such as `discord:*`")
    for place, rule in enumerate(before, start=1):
        if rule.pattern in {"*", pattern}:
            raise ValueError(f"it is never reached, since rule {place} matches the same keys")
    limits: dict[str, timedelta | int | bool] = {}
    for word in words:
        name, _, value = word.partition("=")
        field = _FIELDS.get(name, name)
        if field in limits:
            raise ValueError(f"{name} stands there twice")
        limits[field] = _limit(name, value)
    return Rule(pattern=pattern, **limits)  # type: ignore[arg-type]  # `_limit` gives each name its type


def _limit(name: str, value: str) -> timedelta | int | bool:
    match name:
        case "only":
            if value != "summarized":
                raise ValueError(f"only can be summarized, not {value[:20]!r}")
            return True
        case "max_age" | "max_idle":
            return _time(name, value)
        case "max_items" | "max_tokens":
            if not _NUMBER.fullmatch(value) or not int(value):
                raise ValueError(f"{name} must be a number above 0, not {value[:20]!r}")
            return int(value)
        case _:
            names = "max_age, max_idle, max_items, max_tokens, only"
            raise ValueError(f"there is no limit {name[:20]!r}; there are {names}")


def _time(name: str, value: str) -> timedelta:
    found = _LENGTH.fullmatch(value)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise ValueError(f"{name} must be a time of at most 36500d such as 90m, 12h, 30d or 4w, not {value[:20]!r}")
    return timedelta(seconds=seconds)
