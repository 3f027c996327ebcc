"""What tools that are plain functions need: `tool` marks them, `Progress` tells how far they are.

A file of such functions is named in the servers file of tools_svc (docs/tools.md).
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, overload

Function = TypeVar("Function", bound=Callable[..., Any])
Effect = Literal["read_only", "idempotent", "unsafe"]

_MARK = "__threadmesh_effect__"


class Progress(Protocol):
    """Tells how far a call is; a parameter of this type is filled in for each call and hidden from the model.

    It never waits and can be used from any thread. What is told in quick succession may be merged into the newest.
    """

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say that `done` of `total` is done; `total` is None while it is unknown. `done` only ever grows."""
        ...


class ToolError(Exception):
    """Ends a call with words for the model, which is told nothing of any other error but its kind."""


@overload
def tool(function: Function, /) -> Function: ...


@overload
def tool(*, effect: Effect) -> Callable[[Function], Function]: ...


def tool(function: Any = None, /, *, effect: Effect = "unsafe") -> Any:
    """Mark a function as a tool: `@tool`, or `@tool(effect="read_only")`. The function itself stays as it is.

    `effect` says what a call may do: `read_only` changes nothing, `idempotent` may be done twice, `unsafe` (without a
    word: this one) is never sent a second time. The servers file has the last word.
    """

    def mark(marked: Function) -> Function:
        setattr(marked, _MARK, effect)
        return marked

    return mark if function is None else mark(function)


def effect_of(value: object) -> Effect | None:
    """Give the effect of a function that is a tool, None for anything else."""
    effect: Effect | None = getattr(value, _MARK, None) if callable(value) else None
    return effect
