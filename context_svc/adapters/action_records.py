"""What persons are asked and have said, as JSON that a person can read in the store."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from context_svc.adapters.records import dump_part, load_part
from context_svc.domain.action import Action, Decision, Resolution


def dump_actions(actions: Sequence[Action]) -> str:
    """Write the actions of a run; nothing for none, as nearly all runs have."""
    if not actions:
        return ""
    return json.dumps([_dump(action) for action in actions], ensure_ascii=False, separators=(",", ":"))


def load_actions(text: str) -> tuple[Action, ...]:
    """Read the actions of a run."""
    return tuple(_load(record) for record in json.loads(text)) if text else ()


def _dump(action: Action) -> dict[str, Any]:
    record: dict[str, Any] = {"call_id": action.call_id, "definition_hash": action.definition_hash}
    if decision := action.decision:
        record["decision"] = {
            "resolution": decision.resolution.value,
            "time": decision.time.isoformat(),
            "reason": decision.reason,
            "parts": [dump_part(part) for part in decision.parts],
            "request_id": decision.request_id,
        }
    return record


def _load(record: dict[str, Any]) -> Action:
    decided = record.get("decision")
    decision = decided and Decision(
        resolution=Resolution(decided["resolution"]),
        time=datetime.fromisoformat(decided["time"]),
        reason=decided["reason"],
        parts=tuple(load_part(part) for part in decided["parts"]),
        request_id=decided.get("request_id", ""),
    )
    return Action(call_id=record["call_id"], definition_hash=record["definition_hash"], decision=decision)
