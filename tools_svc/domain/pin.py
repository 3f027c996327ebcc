"""A definition that is trusted."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The trusted definition of a server's tool, in the server's own words, and since when it is trusted, in UTC.

    One that is `approved` was read by a person; another one was the first that was seen.
    """

    server: str
    tool: str
    definition_hash: str
    definition_json: str
    pinned_at: datetime
    approved: bool = False
