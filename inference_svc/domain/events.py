"""What a backend tells while it answers. The pieces of text and tool calls are those of `threadmesh.conversation`."""

from dataclasses import dataclass
from enum import StrEnum

from threadmesh.conversation import Failure, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, Usage


class Phase(StrEnum):
    """What a silent request waits for: its model, a place in the engine, its prompt's reading, a showable token."""

    LOADING = "loading"
    QUEUED = "queued"
    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The request was accepted; says who answers, how long the prompt is in tokens, and the seed in use."""

    model: str
    backend: str
    fingerprint: str
    prompt_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Nothing to show yet. Counts the prompt's tokens, and those of them that are in the KV cache already."""

    phase: Phase
    prefilled_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The answer is complete; the last event of a successful stream."""

    reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The answer cannot be completed; the last event of a failed stream."""

    failure: Failure


Delta = TextDelta | ReasoningDelta | ToolCallDelta
Event = Started | Progress | Delta | Finished | Failed
