"""What the engine works on: jobs that wait, and sequences that run."""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Values
from dataclasses import dataclass, field

from inference_svc.adapters.llama_cpp.context import Entry
from inference_svc.adapters.llama_cpp.forced_tokens import ForcedTokens
from inference_svc.adapters.llama_cpp.media import MediaChunk
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.domain.answer import Answer
from inference_svc.domain.batch import Reader
from inference_svc.domain.events import Delta, Event, Finished, Phase, Progress
from inference_svc.domain.lookup import Prediction, PromptLookup
from inference_svc.domain.media_tokens import Layout
from inference_svc.domain.prompt import Priority
from inference_svc.domain.speculation import Confidence
from threadmesh.conversation import FinishReason, Usage
from threadmesh.errors import MeshError

Delivery = Event | MeshError

EXACT_TOKENS = 256
"""Answers continued from at most so many tokens are computed again one token a step, as they were the first time."""


@dataclass(eq=False, kw_only=True)
class Job:
    """One request to the engine.

    `limit` counts the tokens that may be drawn, those `emitted` elsewhere included; 0 only reads the prompt. `deliver`
    is called from the engine's thread with what a step brought; the last delivery is a `Finished` or an error.
    `media` are the images and sounds of the prompt by their first positions, `layout` is where they stand.
    `repeated` are the pieces that the `emitted` tokens were. `submitted` is in seconds of the engine's clock. A
    `repeatable` one is computed in steps that depend on nothing but itself as far as that can be had, so without
    guesses; `forced` knows what the grammar of another one forces. `adapter` names the adapter that computes it,
    empty for the bare model; its `scope`, within which KV states are shared, must not be that of jobs of other
    adapters. `foreseen` is what the answer was predicted to be.
    """

    prompt: Values[int]
    limit: int
    answer: Answer
    sampler: TokenSampler
    deliver: Callable[[list[Delivery]], None]
    emitted: Values[int] = ()
    repeated: Values[Delta] = ()
    media: Mapping[int, MediaChunk] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    scope: str = ""
    tenant: str = ""
    adapter: str = ""
    priority: Priority = Priority.INTERACTIVE
    repeatable: bool = False
    forced: ForcedTokens | None = None
    foreseen: Prediction | None = None
    cancelled: bool = False
    submitted: float = 0.0
    cached: int | None = None

    @property
    def size(self) -> int:
        """The KV cells that the prompt fills: its tokens, and those of its images and sounds."""
        return self.layout.cells(len(self.prompt))

    @property
    def cost(self) -> int:
        """What the job asks of the engine, in tokens; the length of an answer is not known before and guessed."""
        return self.size + min(self.limit, 256)


@dataclass(eq=False, kw_only=True)
class Sequence:
    """A job with a slot. `tokens` are the prompt and what was drawn; the first `computed` are in the KV cache.

    An `exact` one is computed as it would be any other time: the prompt in pieces that end at fixed places, its last
    token by itself as all that follow, also those that were emitted elsewhere. Kernels give other bits for one token
    than for several, and a prompt that is found in the cache has only its last token left to compute. `due` says when
    its prompt would be read if it were alone, `urgency` its priority or that of somebody who waits for what it reads.
    `ahead` counts tokens of the answer that are known behind the next one, to be computed together with it.
    """

    job: Job
    slot: int
    tokens: list[int]
    computed: int
    exact: bool = False
    due: float = 0.0
    urgency: int = Priority.INTERACTIVE
    ahead: int = 0
    lookup: PromptLookup = field(default_factory=PromptLookup)
    confidence: Confidence = field(default_factory=Confidence)

    @property
    def pending(self) -> int:
        """The number of tokens to compute before the next one can be drawn."""
        return len(self.tokens) - self.computed

    @property
    def chunk(self) -> MediaChunk | None:
        """The image or sound to read next, in a step of its own."""
        return self.job.media.get(self.computed)

    @property
    def reading(self) -> bool:
        """Whether the prompt is being read still."""
        return self.computed < len(self.job.prompt)

    @property
    def decoding(self) -> bool:
        """Whether the sequence computes one token a step, or a few that need not be drawn."""
        return self.pending == 1 + self.ahead or self.computed >= self._singles

    @property
    def unread(self) -> int:
        """The number of tokens that may be computed as a piece of a prompt, up to the next image or sound."""
        return self.job.layout.text_at(self.computed, self._singles - self.computed)

    @property
    def _singles(self) -> int:
        """Where the tokens begin that are computed one by one."""
        if not self.exact:
            return len(self.tokens)
        few = len(self.job.emitted) <= EXACT_TOKENS
        return len(self.job.prompt) + (0 if few else len(self.job.emitted)) - 1

    def reader(self, *, turn: float) -> Reader:
        """Give the sequence as the planning of steps sees it, when it is its tenant's turn."""
        return Reader(sequence=self.slot, tokens=self.unread, due=self.due, rank=self.urgency, turn=turn)

    def entry(self, tokens: int, guesses: Values[int] = ()) -> Entry:
        """Give the next tokens to compute, with guesses behind the last one; then tokens can be drawn."""
        begin, end = self.computed, self.computed + tokens
        wanted = 1 + len(guesses) if end == len(self.tokens) else 0
        return Entry(sequence=self.slot, position=begin, tokens=[*self.tokens[begin:end], *guesses], wanted=wanted)

    def progress(self) -> Progress:
        """Say how much of the prompt was read."""
        total = self.job.size
        phase = Phase.PREFILL if self.reading else Phase.DECODE
        done = min(self.job.layout.cells(self.computed), total)
        return Progress(phase=phase, prefilled_tokens=done, prompt_tokens=total)

    def finished(self, stopped: FinishReason) -> Finished:
        """Say how it ended and what it consumed."""
        foreseen = self.job.foreseen or Prediction(())
        usage = Usage(
            prompt_tokens=self.job.size,
            cached_tokens=self.job.layout.cells(self.job.cached or 0),
            completion_tokens=self.job.answer.tokens,
            reasoning_tokens=self.job.answer.reasoning_tokens,
            accepted_prediction_tokens=foreseen.accepted,
            rejected_prediction_tokens=foreseen.rejected,
        )
        return Finished(reason=self.job.answer.reason(stopped), usage=usage)
