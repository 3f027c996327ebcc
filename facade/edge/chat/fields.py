"""What the objects of a request are made of: strictly typed fields."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError


def _whole(value: Any) -> Any:
    """Take 1.0 and 1e3 for integers, as JSON does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: Any) -> Any:
    """Take integers for numbers; one that no double holds lies beyond every bound."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


Integer = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]


@dataclass(frozen=True, slots=True)
class InVain:
    """Marks a field that OpenAI knows and that changes nothing here, except for `but` these values, which ask for that.

    Of a list, `only` these elements are in vain.
    """

    but: tuple[Any, ...] = ()
    only: tuple[Any, ...] = ()

    def places(self, value: Any) -> Iterator[str]:
        """Yield what follows the field's name in the path of each value that is in vain."""
        if self.only and isinstance(value, list):
            yield from (f"[{index}]" for index, each in enumerate(value) if each in self.only)
        elif value is not None and value not in self.but:
            yield ""


Vain = Annotated[Any, InVain()]
"""The type of a field that is known by its name only."""


def inconsistent(field: str, told: str) -> PydanticCustomError:
    """Give the error of a `field` that does not go with others; what is `told` is a sentence."""
    return PydanticCustomError("inconsistent", "{told}", {"told": told, "field": field})


class Schema(BaseModel):
    """A strict object that remembers which fields it does not know."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
