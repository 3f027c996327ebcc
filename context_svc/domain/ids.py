"""Names of things: what they are, and 128 random bits. An item of a run's input has those of its run, and its place."""

import re
import secrets

_OF_INPUT = re.compile(r"item_[0-9A-Za-z]+_(0|[1-9][0-9]{0,8})")


def new_id(kind: str) -> str:
    """Give a name that nothing else has, such as `run_5f0c...` for the kind `run`."""
    return f"{kind}_{secrets.token_hex(16)}"


def input_id(run_id: str, place: int) -> str:
    """Give the name of an item of a run's input by its place in it, from 0."""
    return f"item_{run_id.partition('_')[2]}_{place}"


def input_place(item_id: str) -> int | None:
    """Read the place of an item in its run's input; None for an item that is no input."""
    found = _OF_INPUT.fullmatch(item_id)
    return int(found[1]) if found else None
