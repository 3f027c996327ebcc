"""What of a request for a response is kept with its run, so that the response can be shown again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """What a response repeats of its request in `fields`, and the tools that its model was told of by `listed` servers.

    One that was not `stored` cannot be had again.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    listed: Sequence[dict[str, Any]] = ()
    background: bool = False
    stored: bool = True

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Echo":
        """Read what `to_json` wrote."""
        known = json.loads(text)
        known.pop("inputs", None)  # an earlier version counted them
        return cls(**known)
