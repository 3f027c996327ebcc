"""Where things stand in a TOML file; the standard library's parser forgets it."""

import re
import tomllib

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\-\"']+(?:\s*\.\s*[A-Za-z0-9_\-\"']+)*)\s*=")
_PART = re.compile(r"\"[^\"]*\"|'[^']*'|[^.\s]+")


def line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """Give the number of the line that sets a key or opens a table, from 1; None where it cannot be found."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _split(header[1])
            found = table
        elif key := _KEY.match(line):
            found = (*table, *_split(key[1]))
        else:
            continue
        if found[: len(keys)] == keys:
            return number
    return None


def line_of_error(error: tomllib.TOMLDecodeError) -> str:
    """Give `:line` of a text that is no TOML; empty where the parser does not say it."""
    found = re.search(r"at line (\d+)", str(error))
    return f":{found[1]}" if found else ""


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
