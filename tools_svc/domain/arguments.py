"""The arguments of a call, from the JSON text that a model wrote."""

import json
from typing import Any, NoReturn

from threadmesh.errors import InvalidToolArguments

LARGEST_BYTES = 1024 * 1024
DEEPEST = 64


def parse_arguments(text: str) -> dict[str, Any]:
    """Read a JSON object; empty text is an empty object. Integers of any length keep every digit.

    Raises `InvalidToolArguments` for text that is no JSON object, repeats a key, holds NaN, infinity or half a
    surrogate pair, is nested deeper than 64 or longer than 1 MiB.
    """
    if not text.strip():
        return {}
    _check_size(text)
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise InvalidToolArguments(f"The arguments are not valid JSON: {reason}.") from error
    if not isinstance(value, dict):
        raise InvalidToolArguments("The arguments must be one JSON object.")
    _check_depth(value)
    _check_size(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return value


def _check_size(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        # JSON can spell it (\ud800), but no UTF-8 can carry it further.
        raise InvalidToolArguments("The arguments hold half a surrogate pair.") from error
    if size > LARGEST_BYTES:
        raise InvalidToolArguments(f"The arguments are longer than {LARGEST_BYTES} bytes.")


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer:
        depth += 1
        if depth > DEEPEST:
            raise InvalidToolArguments(f"The arguments are nested deeper than {DEEPEST}.")
        layer = [child for each in layer for child in _children(each)]


def _children(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [each for each in children if isinstance(each, dict | list)]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(number: str) -> float:
    value = float(number)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{number[:32]} is too large a number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated!r} stands twice in one object")
    return value
