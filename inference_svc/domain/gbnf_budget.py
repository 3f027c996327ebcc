"""What a GBNF grammar may cost, checked before llama.cpp sees it; see `schema_budget` for why."""

import re
from collections.abc import Iterator

from threadmesh.errors import UnsupportedSchema

MAX_BYTES = 262_144
MAX_DEPTH = 200
MAX_REPETITION = 1_000
MAX_NESTED_REPETITION = 2_000
MAX_REPETITIONS_IN_ALL = 20_000

_TOKEN = re.compile(
    r"""
      \#[^\n]*                            # a comment
    | "(?:[^"\\]|\\.)*"                   # a literal
    | \[(?:[^\]\\]|\\.)*\]                # a character class
    | (?P<open>\() | (?P<close>\)) | [A-Za-z0-9-]+
    | \{(?P<least>[0-9]*)(?:,(?P<most>[0-9]*))?\}
    """,
    re.VERBOSE | re.DOTALL,
)
_ROOT = re.compile(r"^root\s*::=", re.MULTILINE)


def check_gbnf(gbnf: str, *, field: str) -> str:
    """Give the grammar back if it is within the budget. Raises `UnsupportedSchema`."""
    if len(gbnf.encode()) > MAX_BYTES:
        raise UnsupportedSchema(
            f"The grammar is larger than {MAX_BYTES} bytes.", field=field, kind="schema_too_complex"
        )
    if "\0" in gbnf or not _ROOT.search(gbnf):
        raise UnsupportedSchema(
            "The grammar needs a rule `root ::= ...` and no NUL.", field=field, kind="schema_unsupported"
        )
    in_all = 0
    for depth, repetition, product in _measures(gbnf):
        in_all += repetition
        if depth > MAX_DEPTH:
            raise UnsupportedSchema(
                f"The grammar nests deeper than {MAX_DEPTH} parentheses.", field=field, kind="schema_too_complex"
            )
        if repetition > MAX_REPETITION or product > MAX_NESTED_REPETITION or in_all > MAX_REPETITIONS_IN_ALL:
            raise UnsupportedSchema(
                f"The grammar repeats more than {MAX_REPETITION} times at one place, {MAX_NESTED_REPETITION} times "
                f"nested or {MAX_REPETITIONS_IN_ALL} times in all.",
                field=field,
                kind="schema_too_complex",
            )
    return gbnf


def _measures(gbnf: str) -> Iterator[tuple[int, int, int]]:
    """Give depth, repetition and the product of nested repetitions at each bracket."""
    inside = [1]
    last = 1
    for token in _TOKEN.finditer(gbnf):
        if token["open"]:
            inside.append(1)
            yield len(inside), 0, 1
        elif token["close"]:
            last = inside.pop() if len(inside) > 1 else 1
            inside[-1] = max(inside[-1], last)
        elif token["least"] is not None:
            repetition = max(int(digits[:9] or 0) for digits in (token["least"], token["most"] or "0"))
            product = repetition * last
            inside[-1] = max(inside[-1], product)
            yield len(inside), repetition, product
        else:
            last = 1
