"""Numbers within bounds, as GBNF. Every number that an expression matches is within; not all within are matched."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

LARGEST = 10**15 - 1
"""Whole numbers up to here survive every JSON parser, also those that read all numbers as doubles."""


def bound(schema: Mapping[str, Any], closed: str, opened: str, *, tightest: Any) -> tuple[Fraction | None, bool]:
    """Give the tightest of a schema's two bounds in one direction, and whether the bound itself is left out."""
    found = [(Fraction(schema[key]), key == opened) for key in (closed, opened) if key in schema]
    if not found:
        return None, False
    tight = tightest(value for value, _ in found)
    return tight, any(is_open for value, is_open in found if value == tight)


def integer(low: int | None, high: int | None) -> str | None:
    """Give an expression for the whole numbers from `low` to `high`; None if there are none."""
    if low is None and high is None:
        return '("-"? ("0" | [1-9] [0-9]{0,14}))'
    low = min(-LARGEST, high or 0) if low is None else low
    high = max(LARGEST, low) if high is None else high
    if low > high:
        return None
    parts = []
    if low < 0:
        parts.append(f'"-" {_between(max(1, -high), -low)}')
    if high >= 0:
        parts.append(_between(max(0, low), high))
    return _either(parts)


def number(low: Fraction | None, high: Fraction | None, *, open_low: bool, open_high: bool) -> str | None:
    """Give an expression for the numbers between the bounds, the bounds themselves left out where `open`.

    None if no number is between them. Written without exponents, with at most ten decimals.
    """
    if low is None and high is None:
        return '("-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,10})?)'
    least = None if low is None else math.floor(low) + 1 if open_low else math.ceil(low)
    most = None if high is None else math.ceil(high) - 1 if open_high else math.floor(high)
    parts = [part for part in (integer(least, most), _decimals(least, most)) if part]
    if not parts and low is not None and high is not None:
        parts = _samples(low, high, open_low=open_low, open_high=open_high)
    return _either(parts) if parts else None


def _decimals(least: int | None, most: int | None) -> str | None:
    """Give an expression for decimals whose whole neighbours are both within the bounds."""
    above = integer(max(0, least or 0), None if most is None else most - 1) if most is None or most > 0 else None
    below = integer(max(0, -most if most is not None else 0), None if least is None else -least - 1)
    parts = [f'{above} "." [0-9]{{1,10}}'] if above else []
    if below and (least is None or least < 0):
        parts.append(f'"-" {below} "." [0-9]{{1,10}}')
    return _either(parts) if parts else None


def _samples(low: Fraction, high: Fraction, *, open_low: bool, open_high: bool) -> list[str]:
    """Give a few numbers of an interval that holds no whole number, as literals."""
    found = [] if open_low else [low]
    found += [low + (high - low) * part / 10 for part in range(1, 10)]
    found += [] if open_high else [high]
    written = {f"{float(value):.12f}".rstrip("0") for value in found}
    return sorted(f'"{text}"' for text in written if _inside(text, low, high, open_low=open_low, open_high=open_high))


def _inside(text: str, low: Fraction, high: Fraction, *, open_low: bool, open_high: bool) -> bool:
    value = Fraction(text)
    return (low < value or (low == value and not open_low)) and (value < high or (value == high and not open_high))


def _between(low: int, high: int) -> str:
    """Give an expression for the whole numbers from `low` to `high`, both at least 0."""
    parts = []
    for size in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (size - 1) if size > 1 else 0)
        parts.append(_same_size(str(least), str(min(high, 10**size - 1))))
    return _either(parts)


def _same_size(low: str, high: str) -> str:
    """Give an expression for the whole numbers between two of one length."""
    if not low:
        return ""
    rest = len(low) - 1
    if low == "0" * len(low) and high == "9" * len(high):
        return f"[0-9]{{{len(low)}}}"
    if low[0] == high[0]:
        return f'"{low[0]}" {_same_size(low[1:], high[1:])}'.strip()
    parts = [f'"{low[0]}" {_same_size(low[1:], "9" * rest)}'.strip()]
    if int(high[0]) - int(low[0]) > 1:
        parts.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}]" + (f" [0-9]{{{rest}}}" if rest else ""))
    parts.append(f'"{high[0]}" {_same_size("0" * rest, high[1:])}'.strip())
    return _either(parts)


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"
