"""How a model is served, and who watches."""

from dataclasses import dataclass, field
from typing import Protocol

from inference_svc.domain.sampling import Drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How one model is served.

    `context_tokens` bounds prompt and answer together, `cells` the KV cache of all requests together; 0 chooses both
    by the model. `sequences` requests are answered at once and `queue` may wait. `created` is in seconds since 1970.
    `grammar_seconds` of processor time may be spent to compile a grammar.
    """

    name: str
    threads: int
    created: int
    context_tokens: int = 0
    cells: int = 0
    sequences: int = 4
    queue: int = 32
    batch: int = 512
    gpu_layers: int = 0
    grammar_seconds: float = 0.25
    drawing: Drawing = field(default_factory=Drawing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """The size of a context: KV cells shared by all sequences, sequences, tokens a step, compute threads."""

    cells: int
    sequences: int
    batch: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How much the engine does at once.

    `queue` requests may wait beside the `sequences` that run. A step reads prompts for about `prefill_seconds`, or
    for about `beside_seconds` while others are being answered.
    """

    sequences: int
    cells: int
    batch: int
    queue: int
    prefill_seconds: float = 0.25
    beside_seconds: float = 0.05


class Observer(Protocol):
    """Watches the engine; called from its thread."""

    def occupied(self, *, running: int, waiting: int) -> None:
        """Tell how many requests run and wait."""
        ...

    def stepped(self, *, seconds: float) -> None:
        """Tell how long a step took."""
        ...

    def left(self, *, phase: str) -> None:
        """Tell that a request left early, in which phase."""
        ...
