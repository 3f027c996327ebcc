"""The reading of one tool call from JSON that is still being written."""

import json
from collections.abc import Callable

_ARGUMENTS = ("arguments", "parameters")
_SPACE = " \t\r\n"


class CallReader:
    """Reads `{"name": ..., "arguments": {...}}` character by character and passes the arguments on as they come.

    With `named`, it also reads a name followed by its arguments, `name[ARGS]{...}`, and the `[` of a list. `raw` is all
    that was read; `broken` says that it is no call after all.
    """

    def __init__(self, *, named: bool = False) -> None:
        self.name = ""
        self.raw = ""
        self.done = self.broken = False
        self._named = named
        self._state: Callable[[str], str] = self._before
        self._key = self._value = self._kept = ""
        self._sent = self._bare = False
        self._depth = 0
        self._quoted = self._escaped = False

    def feed(self, text: str) -> tuple[str, str]:
        """Give the next piece of the arguments, and the text after the call's end."""
        found: list[str] = []
        for place, char in enumerate(text):
            if self.done or self.broken:
                return "".join(found), text[place:]
            self.raw += char
            found.append(self._state(char))
        return "".join(found), ""

    def _before(self, char: str) -> str:
        if char == "{":
            self._state = self._before_key
        elif char not in _SPACE and not (self._named and char == "["):
            self.broken = not self._named
            self._value, self._state = char, self._bare_name
        return ""

    def _bare_name(self, char: str) -> str:
        if char == "{":
            self.name, self._key, self._bare = self._value.removesuffix("[ARGS]").strip(), "arguments", True
            self._begin_value()
            return self._in_value(char)
        self._value += char
        self.broken = not (char.isalnum() or char in "_-.[]" + _SPACE)
        return ""

    def _before_key(self, char: str) -> str:
        if char == '"':
            self._key, self._state = char, self._in_key
        elif char == "}":
            return self._end()
        elif char not in _SPACE + ",":
            self.broken = True
        return ""

    def _in_key(self, char: str) -> str:
        self._key += char
        if self._closes(char):
            self._key, self._state = self._decoded(self._key), self._before_value
        return ""

    def _before_value(self, char: str) -> str:
        if char in _SPACE + ":":
            return ""
        self._begin_value()
        return self._in_value(char)

    def _begin_value(self) -> None:
        self._value, self._depth, self._quoted, self._escaped = "", 0, False, False
        self._state = self._in_value

    def _in_value(self, char: str) -> str:
        if not self._quoted and self._depth == 0 and char in ",}":
            return self._end_value("") + self._before_key(char)
        self._value += char
        self._track(char)
        passed = char if self._streams() else ""
        if not self._quoted and self._depth == 0 and char in '}]"':
            return self._end_value(passed)
        return passed

    def _track(self, char: str) -> None:
        if self._quoted:
            self._quoted = not self._closes(char)
        elif char == '"':
            self._quoted = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1

    def _closes(self, char: str) -> bool:
        """Whether a character ends the text that it stands in."""
        escaped, self._escaped = self._escaped, char == "\\" and not self._escaped
        return char == '"' and not escaped

    def _streams(self) -> bool:
        """Whether the value is that of the arguments and may be passed on before its end."""
        self._sent = self._sent or (self._key in _ARGUMENTS and bool(self.name) and self._value.startswith("{"))
        return self._sent and self._key in _ARGUMENTS

    def _end_value(self, passed: str) -> str:
        self._state = self._before_key
        if self._key == "name":
            self.name = self._decoded(self._value)
            self.broken = not self.name
        elif self._key in _ARGUMENTS and not self._sent:
            self._kept = self._decoded(self._value) if self._value.startswith('"') else self._value
        self.done = self._bare
        return passed

    def _end(self) -> str:
        self.done, self.broken = bool(self.name), not self.name
        if self._sent or self.broken:
            return ""
        return self._kept if self._kept.strip() not in ("", "null") else "{}"

    def _decoded(self, written: str) -> str:
        try:
            value = json.loads(written)
        except ValueError:
            return ""
        return value if isinstance(value, str) else ""
