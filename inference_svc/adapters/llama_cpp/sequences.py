"""What the engine works on: jobs that wait, sequences that run, slots of the KV cache."""

from collections.abc import Callable
from collections.abc import Sequence as Values
from dataclasses import dataclass, field

from inference_svc.adapters.llama_cpp.context import Entry
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.domain.answer import Answer
from inference_svc.domain.events import Event, Finished, Phase, Progress
from inference_svc.domain.prefix import Slot
from inference_svc.domain.prompt import Priority
from threadmesh.conversation import FinishReason, Usage
from threadmesh.errors import MeshError

Delivery = Event | MeshError


@dataclass(eq=False, kw_only=True)
class Job:
    """One request to the engine.

    `limit` counts the tokens that may be drawn, those `emitted` elsewhere included; 0 only reads the prompt. `deliver`
    is called from the engine's thread; the last delivery is a `Finished` or an error.
    """

    prompt: Values[int]
    limit: int
    answer: Answer
    sampler: TokenSampler
    deliver: Callable[[Delivery], None]
    emitted: Values[int] = ()
    scope: str = ""
    priority: Priority = Priority.INTERACTIVE
    cancelled: bool = False
    number: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """Who goes first: by priority, then by arrival."""
        return int(self.priority), self.number


@dataclass(eq=False, kw_only=True)
class Sequence:
    """A job with a slot. `tokens` are the prompt and what was drawn; the first `computed` are in the KV cache."""

    job: Job
    slot: int
    tokens: list[int]
    computed: int
    cached: int

    @property
    def pending(self) -> int:
        """The number of tokens to compute before the next one can be drawn."""
        return len(self.tokens) - self.computed

    @property
    def reading(self) -> bool:
        """Whether the prompt is being read still."""
        return self.computed < len(self.job.prompt)

    def entry(self, tokens: int) -> Entry:
        """Give the next tokens to compute; after the last one a token can be drawn."""
        begin, end = self.computed, self.computed + tokens
        return Entry(sequence=self.slot, position=begin, tokens=self.tokens[begin:end], wanted=end == len(self.tokens))

    def progress(self) -> Progress:
        """Say how much of the prompt was read."""
        total = len(self.job.prompt)
        phase = Phase.PREFILL if self.reading else Phase.DECODE
        return Progress(phase=phase, prefilled_tokens=min(self.computed, total), prompt_tokens=total)

    def finished(self, stopped: FinishReason) -> Finished:
        """Say how it ended and what it consumed."""
        usage = Usage(
            prompt_tokens=len(self.job.prompt),
            cached_tokens=self.cached,
            completion_tokens=self.job.answer.tokens,
            reasoning_tokens=self.job.answer.reasoning_tokens,
        )
        return Finished(reason=self.job.answer.reason(stopped), usage=usage)


@dataclass(eq=False, kw_only=True)
class CacheSlot:
    """A sequence number of the KV cache, and what is in it while nobody uses it."""

    id: int
    scope: str = ""
    tokens: list[int] = field(default_factory=list)
    user: Sequence | None = None
    used: int = 0

    def view(self) -> Slot:
        """Give the slot as the planning of prefixes sees it."""
        tokens = self.user.tokens[: self.user.computed] if self.user else self.tokens
        scope = self.user.job.scope if self.user else self.scope
        return Slot(id=self.id, scope=scope, tokens=tokens, busy=self.user is not None, used=self.used)
