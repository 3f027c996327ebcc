"""The fields of a JSON object of which only the first and the last bytes are known.

From the front, a lexer knows at each byte whether it is inside a string and how deep; from the back it knows that too,
because in JSON a quote without an odd number of backslashes before it always begins or ends a string. What lies between
the ends stays unknown. This reads no more than the ends, so it costs the same however large the object was.
"""

import json
import re
from collections.abc import Iterable, Iterator

_SCALAR = rb'[^\s"{}\[\],:]+'
_FORWARD = re.compile(rb'\s*("(?:[^"\\]|\\.)*"|[{}\[\],:]|' + _SCALAR + rb")", re.DOTALL)
_BACKWARD = re.compile(rb'\s*("(?:[^"]|"\\(?:\\\\)*(?!\\))*"(?=[^\\])|[{}\[\],:]|' + _SCALAR + rb")")
"""A token read from its last byte to its first: a quote inside of a string has an odd number of backslashes behind."""

_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")


def fields(head: bytes, tail: bytes) -> list[tuple[str, bytes]]:
    """Give the names of the object's own fields that the ends show, each with the first token of its value.

    A field whose value is not known to its end has an empty value, except that one which is an object or array is named
    by its bracket. `tail` is empty for an object that has not ended. Gives nothing for what is no object.
    """
    first = list(_outermost(_tokens(_FORWARD, head), _OPENING, _CLOSING))
    last = list(_outermost((each[::-1] for each in _tokens(_BACKWARD, tail[::-1])), _CLOSING, _OPENING))[::-1]
    if first[:1] != [b"{"] or (tail and last[-1:] != [b"}"]):
        return []
    return [*_named(first), *_named(last)]


def _tokens(kind: re.Pattern[bytes], text: bytes) -> Iterator[bytes]:
    at = 0
    while (found := kind.match(text, at)) is not None:
        yield found[1]
        at = found.end()


def _outermost(tokens: Iterable[bytes], opening: tuple[bytes, ...], closing: tuple[bytes, ...]) -> Iterator[bytes]:
    """Give the tokens of the outermost object, and of each value inside of it only the brackets."""
    depth = 0
    for token in tokens:
        before = depth
        depth += (token in opening) - (token in closing)
        if min(before, depth) <= 1:
            yield token
        if depth == 0:
            return


def _named(tokens: list[bytes]) -> Iterator[tuple[str, bytes]]:
    for at, token in enumerate(tokens):
        if token.startswith(b'"') and tokens[at + 1 : at + 2] == [b":"]:
            value, behind = b"".join(tokens[at + 2 : at + 3]), b"".join(tokens[at + 3 : at + 4])
            yield _name(token), value if value in _OPENING or behind in (b",", b"}") else b""


def _name(token: bytes) -> str:
    try:
        return str(json.loads(token.decode()))
    except ValueError:
        return ""
