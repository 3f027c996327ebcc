"""A run's log as one chat completion."""

from typing import Any

from facade.domain.events import ModelFinished, ModelStarted, Run, RunEvent, RunFinished
from facade.edge.chat.encode import SERVICE_TIER, call_piece, completion_id, logprobs_body, usage_body
from facade.edge.chat.shown import Shown
from threadmesh.conversation import (
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)


class Completion:
    """Collects the events of one run into a chat completion."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._model = ""
        self._fingerprint: str | None = None
        self._choices: dict[int, _Choice] = {}
        self._visible = Shown()
        self.tools_were_called = False

    def add(self, written: RunEvent) -> None:
        """Take in the next event."""
        self.tools_were_called = self.tools_were_called or written.may_have_effects
        if (event := self._visible.of(written)) is None:
            return
        match event.body:
            case ModelStarted(model=model, fingerprint=fingerprint):
                self._model, self._fingerprint = model, fingerprint or None
                self._choice(event)
            case TextDelta() | ReasoningDelta() | ToolCallDelta() | ModelFinished():
                self._choice(event).add(event)
            case _:
                pass

    def body(self, finished: RunFinished) -> dict[str, Any]:
        """Give the completion of a run that succeeded."""
        several = len(self._choices) > 1
        ordered = sorted(self._choices.items()) or [(0, _Choice())]
        return {
            "id": completion_id(self._run),
            "object": "chat.completion",
            "created": int(self._run.create_time.timestamp()),
            "model": self._model,
            "service_tier": SERVICE_TIER,
            "system_fingerprint": self._fingerprint,
            "choices": [
                {"index": index, **choice.body(choice.reason if several else finished.reason)}
                for index, choice in ordered
            ],
            "usage": usage_body(finished.usage),
        }

    def _choice(self, event: RunEvent) -> "_Choice":
        return self._choices.setdefault(event.choice, _Choice())


class _Choice:
    """One answer; `reason` says why its last model stopped."""

    def __init__(self) -> None:
        self.reason = FinishReason.STOP
        self._text = ""
        self._reasoning = ""
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[TokenLogprob] = []

    def add(self, event: RunEvent) -> None:
        match event.body:
            case TextDelta(text=text, logprobs=logprobs):
                self._text += text
                self._logprobs += logprobs
            case ReasoningDelta(text=text):
                self._reasoning += text
            case ToolCallDelta() as delta:
                self._add_call(delta)
            case ModelFinished(reason=reason):
                self.reason = reason
            case _:
                pass

    def body(self, reason: FinishReason) -> dict[str, Any]:
        return {
            "message": self._message(),
            "finish_reason": reason.value,
            "logprobs": logprobs_body(self._logprobs),
        }

    def _message(self) -> dict[str, Any]:
        calls = [call for _, call in sorted(self._calls.items())]
        content = self._text if self._text or not calls else None
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = self._reasoning
        if calls:
            message["tool_calls"] = calls
        return message

    def _add_call(self, delta: ToolCallDelta) -> None:
        piece = call_piece(delta)
        call = self._calls.setdefault(delta.index, piece)
        if call is piece:
            del call["index"]
        else:
            call["function"]["arguments"] += delta.arguments_json
