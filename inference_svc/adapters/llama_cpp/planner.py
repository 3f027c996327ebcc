"""What the engine's next step computes, by what the steps before it have cost."""

from collections.abc import Mapping
from collections.abc import Sequence as Values
from dataclasses import dataclass, replace
from time import perf_counter

from inference_svc.adapters.llama_cpp.context import Context, Decoded, Entry
from inference_svc.adapters.llama_cpp.library import first_problem
from inference_svc.adapters.llama_cpp.model import ModelFileError
from inference_svc.adapters.llama_cpp.options import EngineOptions
from inference_svc.adapters.llama_cpp.sequences import Job, Sequence
from inference_svc.domain.batch import SMALL_TOKENS, Pauses, Turns, guests, mixed_tokens, plan
from inference_svc.domain.pace import Pace, ThreadChoice
from inference_svc.domain.speculation import Speculation, StepCost, worthwhile

_MEASURING_SECONDS = 1.0
_MEASURED_STEPS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a step computes of one sequence: its next `tokens`, and `guesses` at those that follow."""

    sequence: Sequence
    tokens: int
    guesses: Values[int] = ()

    @property
    def size(self) -> int:
        """The number of tokens that are computed."""
        return self.tokens + len(self.guesses)


class Planner:
    """Plans steps and learns from them."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._threads = ThreadChoice(options.threads)
        self._pace = Pace()
        self._cost = StepCost()
        self._adapter = ""
        self._turns = Turns()
        self._pauses = Pauses()
        self._paused = False
        """Whether others pause for the step that was planned last."""

    def threads(self, parts: Values[Part]) -> int:
        """Give the number of threads for a step."""
        return self._threads.threads(_tokens(parts))

    def measure(self, context: Context) -> None:
        """Learn what steps cost on this machine before anybody waits for one; takes about a second at most."""
        end = perf_counter() + _MEASURING_SECONDS
        for tokens in _MEASURED_STEPS:
            if perf_counter() < end:
                self._cost.learn(tokens=tokens, seconds=self._measured(context, tokens, wanted=tokens))
        self._pace = Pace(seconds_per_token=self._measured(context, SMALL_TOKENS, wanted=1) / SMALL_TOKENS)
        context.forget_all()

    def _measured(self, context: Context, tokens: int, *, wanted: int) -> float:
        """Compute a step of any tokens of an unused sequence; gives the seconds it took.

        Raises `ModelFileError` for a model that cannot be computed.
        """
        tokens = min(tokens, self._options.batch)
        context.keep(0, 0)
        context.use_threads(self._threads.threads(tokens))
        began = perf_counter()
        entry = Entry(sequence=0, position=0, tokens=[0] * tokens, wanted=min(wanted, tokens))
        decoded, _ = context.decode([entry])
        if decoded is not Decoded.DONE:
            raise ModelFileError(f"A step of {tokens} tokens could not be computed: {first_problem() or decoded.name}")
        return perf_counter() - began

    def reading_seconds(self, tokens: int) -> float:
        """Give how long it takes to read so much of a prompt when nothing else is done."""
        return tokens * self._pace.seconds_per_token

    def speculates(self, job: Job) -> bool:
        """Whether tokens of this job may be guessed."""
        return self._options.speculation is not Speculation.OFF and not job.repeatable

    def plan(self, running: Values[Sequence]) -> list[Part]:
        """Say what the next step computes of whom, all of one adapter; images and sounds are computed apart."""
        turns = self._turns.of(sequence.job.tenant for sequence in running if not sequence.decoding)
        alone = self._guests(running) if self._pauses.allowed else []
        self._paused = bool(alone)
        return self._together(alone or running, turns)

    def gives_way(self, running: Values[Sequence], *, tenant: str) -> bool:
        """Whether the step that was planned last is better begun anew once a prompt of this tenant is there.

        May be asked by any thread while the step is computed.
        """
        if self._paused or not self._pauses.allowed or any(each.chunk for each in running):
            return False
        return tenant in guests([*(each.job.tenant for each in running), tenant])

    def lost(self, *, seconds: float) -> None:
        """Note that a step was broken off: that is paid as a pause is."""
        self._pauses.after(seconds=seconds, paused=True)

    def _guests(self, running: Values[Sequence]) -> list[Sequence]:
        """Give the sequences for whose prompts all others pause."""
        found = guests(sequence.job.tenant for sequence in running)
        reading = [each for each in running if each.reading and not each.decoding and not each.chunk]
        return [each for each in reading if each.job.tenant in found]

    def _together(self, running: Values[Sequence], turns: Mapping[str, float]) -> list[Part]:
        mine = self._of_next_adapter([sequence for sequence in running if not sequence.chunk])
        by_slot = {sequence.slot: sequence for sequence in mine}
        if len(running) == 1 and mine and mine[0].exact and not mine[0].decoding:
            return [self._exact_piece(mine[0])]
        decoding = [sequence for sequence in by_slot.values() if sequence.decoding]
        known = self._known(decoding)
        seconds = self._options.beside_seconds if decoding else self._options.prefill_seconds
        beside = _tokens(known)
        most = mixed_tokens(beside, batch=self._options.batch, mixed=self._options.mixed)
        reading = [sequence for sequence in by_slot.values() if not sequence.decoding]
        step = plan(
            decoding=[sequence.slot for sequence in decoding],
            reading=[sequence.reader(turn=turns[sequence.job.tenant]) for sequence in reading],
            batch=most - (beside - len(known)),
            prefill=self._pace.tokens_within(seconds, most=self._options.batch),
        )
        if step.prefill:
            pieces = [Part(sequence=by_slot[chunk.sequence], tokens=chunk.tokens) for chunk in step.prefill]
            return [*known, *pieces]
        return self._guessing(known)

    def _known(self, decoding: Values[Sequence]) -> list[Part]:
        """Give each sequence's next token, with those behind it that are known already, as far as there is room."""
        room = self._options.batch - len(decoding)
        parts = []
        for sequence in decoding:
            ahead = min(sequence.ahead, room)
            room -= ahead
            parts.append(Part(sequence=sequence, tokens=1 + ahead))
        return parts

    def _exact_piece(self, sequence: Sequence) -> Part:
        """Read a prompt up to the next place where its pieces always end."""
        size = min(SMALL_TOKENS, self._options.batch)
        return Part(sequence=sequence, tokens=min(sequence.unread, size - sequence.computed % size))

    def _of_next_adapter(self, running: Values[Sequence]) -> list[Sequence]:
        """Give the sequences of the adapter whose turn it is: a step computes with one, and they take turns."""
        adapters = sorted({sequence.job.adapter for sequence in running})
        self._adapter = next((each for each in adapters if each > self._adapter), adapters[0] if adapters else "")
        return [sequence for sequence in running if sequence.job.adapter == self._adapter]

    def _guessing(self, known: Values[Part]) -> list[Part]:
        """Add what the sequences may say next, where computing it costs less than it promises."""
        parts: list[Part] = []
        size, allowed = _tokens(known), min(self._options.guesses, self._options.batch - _tokens(known))
        for part in known:
            guessed = self._guessed(part, most=allowed, beside=size)
            allowed -= len(guessed.guesses)
            size += len(guessed.guesses)
            parts.append(guessed)
        return parts

    def _guessed(self, part: Part, *, most: int, beside: int) -> Part:
        """Guess at what was foreseen or followed the same tokens before, unless the grammar leaves nothing to guess."""
        sequence, job = part.sequence, part.sequence.job
        room = min(most, job.limit - job.answer.tokens - 1)
        if room <= 0 or sequence.pending != part.tokens or not self.speculates(job):
            return part
        if job.forced is not None and job.forced.next(1):
            return part
        guesses = job.foreseen.propose(room) if job.foreseen else []
        guesses = guesses or sequence.lookup.propose(room)
        if self._options.speculation is Speculation.AUTO:
            guesses = guesses[: worthwhile(len(guesses), sequence.confidence.rate, beside=beside, cost=self._cost)]
        return replace(part, guesses=guesses)

    def learn(self, parts: Values[Part], *, seconds: float) -> None:
        """Learn from a step that was computed as planned."""
        tokens = _tokens(parts)
        for part in parts:
            if not part.sequence.decoding:
                self._turns.read(part.sequence.job.tenant, tokens=part.tokens)
        self._pauses.after(seconds=seconds, paused=self._paused)
        self._threads.after(tokens=tokens, seconds=seconds)
        if all(part.sequence.decoding for part in parts):
            self._cost.learn(tokens=tokens, seconds=seconds)
        elif not any(part.sequence.decoding for part in parts):
            self._pace = self._pace.after(tokens=tokens, seconds=seconds)


def _tokens(parts: Values[Part]) -> int:
    return sum(part.size for part in parts)
