"""A definition that is trusted."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The trusted definition of a server's tool, in the server's own words, and since when it is trusted, in UTC."""

    server: str
    tool: str
    definition_hash: str
    definition_json: str
    pinned_at: datetime
