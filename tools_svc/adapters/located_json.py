"""JSON with the line of every key, so that a mistake in a file can be shown where it is."""

import json
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in fact: json.decoder.__all__ is older
from typing import Any

Path = tuple[str | int, ...]
_BLANK = " \t\r\n"
_DEEPEST = 32


class JsonError(ValueError):
    """The text is not JSON; `line` counts from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(slots=True)
class Located:
    """A JSON value and the line, from 1, where each of its keys and elements begins."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Give the line of what stands at the path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str) -> Located:
    """Read JSON text; raises `JsonError`, also for a key that stands twice in one object."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}

    def parse(self) -> Located:
        value = self._value(())
        if self._next():
            raise self._error("there is more after the end")
        return Located(value=value, lines=self._lines)

    def _value(self, path: Path) -> Any:
        sign = self._next()
        if len(path) > _DEEPEST:
            raise self._error("it is nested too deeply")
        self._lines.setdefault(path, self._line())
        match sign:
            case "{":
                return self._object(path)
            case "[":
                return self._array(path)
            case '"':
                return self._string()
            case _:
                return self._scalar()

    def _object(self, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = {}
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return value
        while True:
            if self._next() != '"':
                raise self._error("a key in double quotes is missing")
            line, key = self._line(), self._string()
            if key in value:
                raise JsonError(f"{key!r} stands here for the second time", line)
            self._lines[(*path, key)] = line
            self._expect(":")
            value[key] = self._value((*path, key))
            if not self._goes_on("}"):
                return value

    def _array(self, path: Path) -> list[Any]:
        value: list[Any] = []
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return value
        while True:
            value.append(self._value((*path, len(value))))
            if not self._goes_on("]"):
                return value

    def _string(self) -> str:
        try:
            value, self._at = scanstring(self._text, self._at + 1, True)
        except json.JSONDecodeError as error:
            raise JsonError(error.msg, error.lineno) from error
        return str(value)

    def _scalar(self) -> Any:
        try:
            value, self._at = json.JSONDecoder(parse_constant=_refuse).raw_decode(self._text, self._at)
        except ValueError as error:
            raise self._error("a value is missing or is not JSON") from error
        return value

    def _goes_on(self, end: str) -> bool:
        sign = self._next()
        if sign not in (",", end):
            raise self._error(f"a comma or {end!r} is missing")
        self._at += 1
        return sign == ","

    def _expect(self, sign: str) -> None:
        if self._next() != sign:
            raise self._error(f"{sign!r} is missing")
        self._at += 1

    def _next(self) -> str:
        while self._at < len(self._text) and self._text[self._at] in _BLANK:
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _error(self, reason: str) -> JsonError:
        return JsonError(reason, self._line())


def _refuse(constant: str) -> float:
    raise ValueError(constant)
