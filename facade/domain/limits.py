"""How far a turn may go, and what it goes on with."""

from dataclasses import dataclass

from facade.domain.ports import Context, Inference, Tools
from facade.domain.retries import Retries

END_SECONDS = 10.0
"""What a run may take beyond its turn, so that a turn that took too long can still write its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a turn may go.

    `answer_tokens` bounds an answer whose request does not (0: the context does), `result_characters` what a model
    reads of one tool's result, `seconds` the whole turn. A model that cannot be reached is waited for for
    `patience_seconds`, and for `return_seconds` where it has begun its answer. A person who is asked has
    `approval_seconds`, which are not the turn's; with `approve_after_tools` he is asked about each call that may change
    something once a tool has answered in this turn. What a tool's server asks of a model is answered in at most
    `sampling_tokens`.
    """

    answer_tokens: int = 0
    tool_rounds: int = 16
    result_characters: int = 16_000
    seconds: float = 600.0
    patience_seconds: float = 2.0
    return_seconds: float = 15.0
    approval_seconds: float = 600.0
    sampling_tokens: int = 1024
    approve_after_tools: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The other units, and how often they may be asked again where they do not answer."""

    inference: Inference
    tools: Tools
    context: Context
    retries: Retries
