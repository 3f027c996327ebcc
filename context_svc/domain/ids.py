"""Names of things: what they are, and 128 random bits."""

import secrets


def new_id(kind: str) -> str:
    """Give a name that nothing else has, such as `run_5f0c...` for the kind `run`."""
    return f"{kind}_{secrets.token_hex(16)}"
