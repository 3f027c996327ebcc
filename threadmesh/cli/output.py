"""What commands write: tables and JSON on stdout, notices and errors on stderr.

Rich is told to read no emoji codes: a thread's key such as `me:notes` holds one.
"""

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_REORDERING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which a terminal shows the others."""
_PIPE_COLUMNS = 100_000


def stdout() -> Console:
    """Give the console of results."""
    return Console(highlight=False, emoji=False, soft_wrap=True)


def stderr() -> Console:
    """Give the console of notices."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def printable(text: str) -> str:
    """Give text that a model, a tool or a peer wrote without what would steer the terminal."""
    return "".join(each for each in text if each in "\n\t" or not _steers(each))


def one_line(text: str, *, limit: int = 0) -> str:
    """Give the text on one line, cut to `limit` characters where that is not 0."""
    line = " ".join(printable(text).split())
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def visible(line: str) -> str:
    """Write what is not seen, or changes how the rest is seen, as an escape: it may hide instructions."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def print_json(value: object) -> None:
    """Write a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows under their headings; a pipe gets every row on one line, whatever its length."""
    console = stdout()
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table, soft_wrap=False)


def _steers(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or character in _REORDERING
