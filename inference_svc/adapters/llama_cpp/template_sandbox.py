"""Where chat templates run: they come with a model file and may be written by anybody."""

from datetime import datetime
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_LARGEST_REPEAT = 100_000


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, and no expression that makes a short text huge."""

    intercepted_binops = frozenset({"*", "**", "%"})
    _padding = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        numbers = [side for side in (left, right) if isinstance(side, int | float)]
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"{operator} is not offered")
        if operator == "*" and sizes and max(numbers, default=0) * max(sizes) > _LARGEST_REPEAT:
            raise SecurityError("the repetition is too long")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in self._padding and super().is_safe_attribute(obj, attr, value)


def sandbox() -> jinja2.Environment:
    """Make an environment for chat templates, with what their authors expect of it and nothing that reaches outside."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for name in ("center", "format", "indent", "pprint", "xmlattr", "urlize"):
        environment.filters.pop(name)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
