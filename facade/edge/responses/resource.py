"""The response object."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from facade.domain.events import Run, RunFinished, RunState
from facade.edge.errors import body_of
from facade.edge.responses.names import Part, response_id
from threadmesh.conversation import FinishReason, Usage
from threadmesh.errors import Code

_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}
_CODES = {Code.INVALID_ARGUMENT: "invalid_prompt", Code.RESOURCE_EXHAUSTED: "rate_limit_exceeded"}
_STATUSES = {
    RunState.QUEUED: "queued",
    RunState.RUNNING: "in_progress",
    RunState.REQUIRES_ACTION: "in_progress",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}


class Resource:
    """Gives the response object of a run as it is at a moment; `echo` is what it repeats of its request.

    It is that of a `part` of the run; one that goes on with another says so.
    """

    def __init__(self, run: Run, echo: Mapping[str, Any], part: Part) -> None:
        self._run = run
        self._after = part.after
        self._echo = echo
        if part.behind is not None:
            self._echo = {**echo, "previous_response_id": response_id(run, part.behind)}
        self.model = str(echo.get("model", ""))

    def body(
        self,
        status: str,
        output: list[dict[str, Any]],
        finished: RunFinished | None = None,
        *,
        at: datetime | None = None,
    ) -> dict[str, Any]:
        """Give the object with all of the fields that clients take for granted; it has `finished` at a time.

        Of one that was broken off nobody may know what it took: then there is no usage.
        """
        return {
            "id": response_id(self._run, self._after),
            "object": "response",
            "created_at": int(self._run.create_time.timestamp()),
            "status": status,
            "completed_at": int(at.timestamp()) if at and status == "completed" else None,
            "error": _error(finished),
            "incomplete_details": _incomplete(finished),
            "output": output,
            "usage": usage_body(finished.usage) if finished and finished.usage != Usage() else None,
            **self._echo,
            "model": self.model,
        }

    def ended(self, output: list[dict[str, Any]], finished: RunFinished, *, at: datetime | None) -> dict[str, Any]:
        """Give the object of a run that has ended at a time, as far as that is known."""
        return self.body(status_of(finished), output, finished, at=at)


def status_of(finished: RunFinished) -> str:
    """Say in OpenAI's words how a run ended."""
    if finished.state is RunState.SUCCEEDED:
        return "incomplete" if finished.reason in _INCOMPLETE else "completed"
    return _STATUSES[finished.state]


def open_status(run: Run) -> str:
    """Say in OpenAI's words how far a run is that has not ended."""
    return _STATUSES.get(run.state, "in_progress")


def usage_body(usage: Usage) -> dict[str, Any]:
    """Give a usage in the words of responses."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _error(finished: RunFinished | None) -> dict[str, Any] | None:
    if finished is None or finished.failure is None or finished.state is RunState.CANCELLED:
        return None
    error = finished.failure.error()
    told = body_of(error)["error"]
    # Of all that can go wrong, OpenAI's responses have a word for little; ours stands beside it.
    return {"code": _CODES.get(error.code, "server_error"), "message": told["message"], "reason": told["code"]}


def _incomplete(finished: RunFinished | None) -> dict[str, Any] | None:
    if finished is None or finished.state is not RunState.SUCCEEDED or finished.reason not in _INCOMPLETE:
        return None
    return {"reason": _INCOMPLETE[finished.reason]}
