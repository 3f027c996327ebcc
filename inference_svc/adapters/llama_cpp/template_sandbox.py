"""Where chat templates run: they come with a model file and may be written by anybody.

Jinja's sandbox keeps them from reaching outside, but not from taking all time and memory. So here every loop and every
call looks at the clock, and no expression or filter makes a text or a number huge. Python code cannot be stopped from
outside, which is why it must look itself.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

RENDERING_SECONDS = 2.0
_LARGEST_REPEAT = 100_000
_LARGEST_TEXT = 8 * 1024 * 1024
_LARGEST_NUMBER_BITS = 4_096

_WITHOUT = ("batch", "center", "format", "indent", "pprint", "random", "slice", "urlize", "wordwrap", "xmlattr")
_PADDING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map", "translate"})

_ends: ContextVar[float] = ContextVar("_ends", default=float("inf"))


def rendered(template: jinja2.Template, values: Mapping[str, Any]) -> str:
    """Give what a template makes of these values.

    Raises `jinja2.TemplateError` if that takes more than two seconds of processor time or eight megabytes, and
    whatever else the template raises.
    """
    token = _ends.set(time.thread_time() + RENDERING_SECONDS)
    try:
        size, parts = 0, []
        for part in template.generate(values):
            size += len(part)
            _require(size)
            parts.append(part)
        return "".join(parts)
    finally:
        _ends.reset(token)


def sandbox() -> jinja2.Environment:
    """Make an environment for chat templates, with what their authors expect of it and nothing that reaches outside."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters = {name: each for name, each in environment.filters.items() if name not in _WITHOUT}
    environment.filters |= {"replace": _replaced, "join": _joined, _EACH: _each, _BOUNDED: _bounded}
    environment.globals.pop("lipsum")
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form[:256])
    return environment


_EACH, _BOUNDED = "_each", "_bounded"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with a clock and without expressions that make a short text huge."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"{operator} is not offered")
        sizes = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        numbers = [side for side in (left, right) if isinstance(side, int | float)]
        if operator == "*" and sizes and max(numbers, default=0) * max(sizes) > _LARGEST_REPEAT:
            raise SecurityError("the repetition is too long")
        if sum(side.bit_length() for side in numbers if isinstance(side, int)) > _LARGEST_NUMBER_BITS:
            raise SecurityError("the number is too large")
        if operator == "+":
            _require(sum(sizes))
        return super().call_binop(context, operator, left, right)

    def call(self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: PYI063  # as Jinja has it
        _look_at_the_clock()
        return super().call(__context, __obj, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _PADDING and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return _mild(super().getattr(obj, attribute), obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return _mild(super().getitem(obj, argument), obj, argument)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        """Let loops look at the clock and chains of `~` at their size."""
        for loop in list(source.find_all(nodes.For)):
            loop.iter = _filtered(loop.iter, _EACH)
        for parent in [source, *source.find_all(nodes.Node)]:
            for field, value in parent.iter_fields():
                if isinstance(value, nodes.Concat):
                    setattr(parent, field, _filtered(value, _BOUNDED))
                elif isinstance(value, list):
                    value[:] = [_filtered(each, _BOUNDED) if isinstance(each, nodes.Concat) else each for each in value]
        return super()._generate(source, *args, **kwargs)


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _mild(value: Any, obj: Any, attribute: Any) -> Any:
    """Give a method of a text, in a form that cannot make a short text huge."""
    if isinstance(obj, str) and attribute == "replace":
        return lambda old, new, count=-1: _replaced(obj, old, new, count)
    if isinstance(obj, str) and attribute == "join":
        return lambda values: _joined(values, obj)
    return value


@jinja2.pass_context
def _each(_: jinja2.runtime.Context, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _look_at_the_clock()
        yield value


@jinja2.pass_context
def _bounded(_: jinja2.runtime.Context, text: str) -> str:
    _require(len(text))
    return text


def _replaced(value: Any, old: str, new: str, count: int | None = None) -> str:
    text = str(value)
    found = text.count(old) if count is None or count < 0 else min(text.count(old), count)
    _require(len(text) + found * max(0, len(new) - len(old)))
    return text.replace(old, new, found)


def _joined(values: Iterable[Any], between: Any = "", attribute: str | int | None = None) -> str:
    texts = []
    size = 0
    for value in values:
        _look_at_the_clock()
        texts.append(str(value if attribute is None else value[attribute]))
        size += len(texts[-1]) + len(str(between))
        _require(size)
    return str(between).join(texts)


def _look_at_the_clock() -> None:
    if time.thread_time() > _ends.get():
        raise SecurityError(f"it takes more than {RENDERING_SECONDS:g} seconds")


def _require(size: int) -> None:
    if size > _LARGEST_TEXT:
        raise SecurityError("it makes a text of more than 8 megabytes")


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
