"""What persons are asked and have said, as JSON that a person can read in the store."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from context_svc.adapters.records import dump_part, load_part
from context_svc.domain.action import Action, Decision, Resolution
from threadmesh.questions import Answer, AnswerAction, Form, InputRequired, Question


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
    if action.asked is not None:
        record["asked"] = _dump_asked(action.asked)
    if action.former:
        record["former"] = action.former
    if decision := action.decision:
        record["decision"] = {
            "resolution": decision.resolution.value,
            "time": decision.time.isoformat(),
            "reason": decision.reason,
            "parts": [dump_part(part) for part in decision.parts],
            "request_id": decision.request_id,
        }
        if decision.answers:
            record["decision"]["answers"] = [asdict(answer) for answer in decision.answers]
    return record


def _load(record: dict[str, Any]) -> Action:
    decided = record.get("decision")
    decision = decided and Decision(
        resolution=Resolution(decided["resolution"]),
        time=datetime.fromisoformat(decided["time"]),
        reason=decided["reason"],
        parts=tuple(load_part(part) for part in decided["parts"]),
        request_id=decided.get("request_id", ""),
        answers=tuple(map(_load_answer, decided.get("answers", ()))),
    )
    return Action(
        call_id=record["call_id"],
        definition_hash=record["definition_hash"],
        decision=decision,
        asked=_load_asked(record["asked"]) if "asked" in record else None,
        former=tuple(record.get("former", ())),
    )


def _dump_asked(asked: InputRequired) -> dict[str, Any]:
    """Write what a person is asked: forms, and no questions to models."""
    forms = [(question.id, question.asked) for question in asked.questions if isinstance(question.asked, Form)]
    return {
        "name": asked.name,
        "server": asked.server,
        "forms": [{"id": name, **asdict(form)} for name, form in forms],
        "round": asked.round,
        "request_state": asked.request_state,
        "held": asked.held,
        "given": [asdict(answer) for answer in asked.given],
    }


def _load_asked(record: dict[str, Any]) -> InputRequired:
    forms = [
        Question(id=form["id"], asked=Form(message=form["message"], schema_json=form["schema_json"]))
        for form in record["forms"]
    ]
    return InputRequired(
        name=record["name"],
        server=record["server"],
        questions=tuple(forms),
        round=record["round"],
        request_state=record["request_state"],
        held=record["held"],
        given=tuple(map(_load_answer, record["given"])),
    )


def _load_answer(record: dict[str, Any]) -> Answer:
    return Answer(**{**record, "action": AnswerAction(record["action"])})
