"""Where things stand in a TOML file; the standard library's parser forgets it."""

import re
import tomllib
from pathlib import Path

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


def located(path: Path, text: str, keys: tuple[str, ...]) -> str:
    """Give `file:line: key`, with the line of the innermost table that can be found."""
    lines = (line_of(text, keys[:depth]) for depth in range(len(keys), 0, -1))
    line = next((each for each in lines if each), 1)
    return f"{path}:{line}: {'.'.join(keys)}"


def reason_of(kind: str, message: str) -> str:
    """Say what is wrong with a value, by the kind and the message of pydantic's error."""
    match kind:
        case "extra_forbidden":
            return "no such key; a name that holds a dot stands in quotes"
        case "missing":
            return "it is missing"
        case "model_type" | "model_attributes_type":
            return "it must be a table"
        case _:
            return message[0].lower() + message[1:]


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
