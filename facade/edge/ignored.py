"""Fields of requests that mean nothing here: their responses name them."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from facade.edge.chat.fields import InVain

_HEADER = "x-threadmesh-ignored"
_SAID = frozenset({"messages", "input", "items"})
"""Fields with entries of a conversation: these come back with all that answers carry, which asks for nothing."""


def ignored_headers(asked: BaseModel) -> dict[str, str]:
    """Give the header that names the fields which a request brought in vain; none where it brought none."""
    return named({*unknown_fields(asked), *_vain_fields(asked)})


def named(fields: Iterable[str]) -> dict[str, str]:
    """Give the header that names these fields; none where there are none."""
    names = sorted(fields)
    told = (name if name.isascii() and name.isprintable() else "?" for name in names)
    return {_HEADER: ", ".join(told)[:1024]} if names else {}


def name_also(headers: dict[str, str], fields: Iterable[str]) -> None:
    """Name these fields in the header as well, if there are any."""
    before = headers.get(_HEADER)
    headers.update(named({*(before.split(", ") if before else ()), *fields}))


def unknown_fields(asked: BaseModel, *, within: str = "") -> Iterator[str]:
    """Yield the paths of fields that nobody knows, such as `tools[0].zeal`; what was said is not looked through."""
    yield from (within + name for name in asked.model_extra or ())
    for name, _, value in _given(asked):
        for path, part in _parts(value, within + name) if name not in _SAID else ():
            yield from unknown_fields(part, within=f"{path}.")


def _vain_fields(asked: BaseModel, *, within: str = "") -> Iterator[str]:
    """Yield the paths of known fields with values that change nothing here."""
    for name, field, value in _given(asked):
        for marker in (each for each in field.metadata if isinstance(each, InVain)):
            yield from (f"{within}{name}{place}" for place in marker.places(value))
        for path, part in _parts(value, within + name):
            yield from _vain_fields(part, within=f"{path}.")


def _given(asked: BaseModel) -> Iterator[tuple[str, FieldInfo, Any]]:
    fields = type(asked).model_fields
    for name in asked.model_fields_set & fields.keys():
        yield fields[name].alias or name, fields[name], getattr(asked, name)


def _parts(value: Any, path: str) -> Iterator[tuple[str, BaseModel]]:
    """Yield the objects that a value consists of, with their paths."""
    match value:
        case BaseModel():
            yield path, value
        case list():
            for index, each in enumerate(value):
                yield from _parts(each, f"{path}[{index}]")
        case dict():
            for key, each in value.items():
                yield from _parts(each, f"{path}.{key}") if isinstance(each, BaseModel) else ()
        case _:
            pass
