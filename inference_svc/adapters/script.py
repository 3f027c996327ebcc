r"""The script of the scripted backend: what it answers to what, from a JSON file.

    {
      "context_tokens": 8192,
      "step_ms": 60,
      "arguments": {"time__get_current_time": {"timezone": "UTC"}},
      "rules": [
        {"match": "weather in (\\w+)", "role": "user", "steps": [
          {"reasoning": "They want to know about \\1."},
          {"text": "Looking at \\1. ", "delay_ms": 20},
          {"tool_call": {"name": "weather", "arguments": {"city": "\\1"}}}
        ]},
        {"match": "break", "steps": [{"text": "So far"}], "fail": {"reason": "BACKEND_UNAVAILABLE", "after_tokens": 1}},
        {"match": "full", "refuse": {"reason": "OVERLOADED"}},
        {"match": "hang", "steps": [{"text": "And "}, {"stall": true}]}
      ]
    }

The first rule answers whose `match`, a regular expression, is found in the last message of a user or a tool (of `role`
alone where that is given); `\1` stands for what its first group found. `text` is said and `reasoning` thought, token by
token with `delay_ms` before each; with `step_ms` all answers say their tokens together, so many milliseconds apart, as
those of one engine. `tool_call` calls a tool if the request offers it; without parallel calls the first one
ends the answer. A request that wants no thinking gets none. `stall` is silent until the request is given up.
`fail` ends the answer with an error after so many tokens, `refuse` before it starts.

Without a rule the backend calls a tool if it must (with `arguments` of that name, else with the least that the schema
allows), gives the least JSON of a response format, and echoes otherwise.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from threadmesh.errors import Aborted, BackendUnavailable, DeadlineExceeded, Internal, MeshError, Overloaded
from threadmesh.settings import ConfigurationError

ERRORS: Mapping[str, type[MeshError]] = {
    error.reason: error for error in (BackendUnavailable, Overloaded, Internal, DeadlineExceeded, Aborted)
}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScriptedCall(_Strict):
    """A tool call to make."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Step(_Strict):
    """One thing to do; exactly one of `text`, `reasoning`, `tool_call` and `stall` is meant to be set."""

    text: str = ""
    reasoning: str = ""
    delay_ms: float = Field(default=0, ge=0)
    tool_call: ScriptedCall | None = None
    stall: bool = False


class Fault(_Strict):
    """An error to end with, after so many tokens of the answer."""

    reason: Literal["BACKEND_UNAVAILABLE", "OVERLOADED", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED"]
    after_tokens: int = Field(default=0, ge=0)

    def error(self) -> MeshError:
        """Give the error."""
        return ERRORS[self.reason]()


class Rule(_Strict):
    """What to do when the last message matches."""

    match: str
    role: Literal["user", "tool", "any"] = "any"
    steps: tuple[Step, ...] = ()
    fail: Fault | None = None
    refuse: Fault | None = None

    @field_validator("match")
    @classmethod
    def _is_expression(cls, match: str) -> str:
        try:
            re.compile(match)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return match


class Script(_Strict):
    """The whole script."""

    context_tokens: int = Field(default=8_192, ge=1)
    step_ms: float = Field(default=0, ge=0)
    arguments: dict[str, dict[str, Any]] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def rule_for(self, text: str, *, role: str) -> tuple[Rule, re.Match[str]] | None:
        """Give the first rule for a message and what it found."""
        for rule in self.rules:
            if rule.role in (role, "any") and (found := re.search(rule.match, text)):
                return rule, found
        return None


def read_script(path: Path) -> Script:
    """Read a script. Raises `ConfigurationError` with one line for each thing that is wrong."""
    try:
        return Script.model_validate_json(path.expanduser().read_bytes())
    except OSError as error:
        raise ConfigurationError(f"INFERENCE_SCRIPT: {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        lines = (f"{path}: {'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in problems)
        raise ConfigurationError("\n".join(lines)) from None
