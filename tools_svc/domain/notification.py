"""What a server announces unasked and outside of the protocol."""

from dataclasses import dataclass

LARGEST_BYTES = 64 * 1024
"""What a notification may hold; a longer one is not passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One announcement: by which server, by which method, and its parameters as JSON text."""

    server: str
    method: str
    params_json: str
