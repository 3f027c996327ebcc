"""The running requests of an engine, advanced together: computes a step and draws the tokens that came of it."""

from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from inference_svc.adapters.llama_cpp.cache import Cache, Waits
from inference_svc.adapters.llama_cpp.context import Context, Decoded
from inference_svc.adapters.llama_cpp.media import MediaReader
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import EngineOptions, Observer
from inference_svc.adapters.llama_cpp.planner import Part, Planner
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job, Sequence
from inference_svc.domain.answer import Token
from inference_svc.domain.speculation import Confidence
from threadmesh.conversation import FinishReason
from threadmesh.errors import Internal, MeshError

_JUMP = 32
"""Most tokens that are taken at once without being drawn."""

_FORESEEN_RATE = 0.9
"""How often tokens of a predicted answer are believed to come true before that is known."""


class Free(Protocol):
    """Frees the place of a job, or lets it wait again."""

    def __call__(self, job: Job, *, again: bool = False) -> None:
        """Let the job wait again, or go for good."""
        ...


class Stepper:
    """Advances sequences; used by the engine's thread only."""

    def __init__(
        self,
        model: LoadedModel,
        context: Context,
        options: EngineOptions,
        *,
        observer: Observer,
        free: Free,
        media: MediaReader | None = None,
    ) -> None:
        self._model, self._context, self._options, self._observer, self._free = model, context, options, observer, free
        self._media = media
        self._sequences = options.sequences
        self._cache = Cache(options.cache)
        self._planner = Planner(options)
        self._outbox: dict[Job, list[Delivery]] = {}
        self.running: list[Sequence] = []
        self.threads = options.threads[0]

    @property
    def parked_bytes(self) -> int:
        """The host memory that conversations take which do not run."""
        return self._cache.parked_bytes

    def measure(self) -> None:
        """Learn what steps cost on this machine before anybody waits for one."""
        self._planner.measure(self._context)

    def begin(self, job: Job) -> Waits | None:
        """Give a job a place in the context; gives what it has to wait for if there is none yet."""
        exact = job.repeatable and not self.running
        sequence = self._cache.take(job, self._context, margin=self._options.batch, alone=exact)
        if isinstance(sequence, Waits):
            return sequence
        sequence.exact = exact
        sequence.due = job.submitted + self._planner.reading_seconds(sequence.unread)
        if self._planner.speculates(job):
            sequence.lookup.read(sequence.tokens)
        if job.foreseen is not None:
            sequence.confidence = Confidence(rate=_FORESEEN_RATE)
        self.running.append(sequence)
        self._deliver(sequence, sequence.progress())
        return None

    def drop_cancelled(self) -> None:
        """Let go of the sequences whose requests have left."""
        for sequence in [each for each in self.running if each.job.cancelled]:
            self._observer.left(phase="prefill" if sequence.reading else "decode")
            self._leave(sequence)

    def step(self, enter: Callable[[set[Job]], bool], leave: Callable[[], None]) -> None:
        """Compute one step, and one image or sound before it if any is next.

        `enter` is asked with the jobs whose prompts are read and says whether that may begin; from then until `leave`
        it may be aborted.
        """
        perceiving = next((sequence for sequence in self.running if sequence.chunk), None)
        if perceiving is not None and enter({perceiving.job}):
            self._perceive(perceiving, leave)
        parts = self._planner.plan(self.running)
        if parts and enter({part.sequence.job for part in parts if part.sequence.reading}):
            began = perf_counter()
            self._context.adapt(parts[0].sequence.job.adapter)
            self.threads = self._planner.threads(parts)
            self._context.use_threads(self.threads)
            decoded, rows = self._context.decode([part.sequence.entry(part.tokens, part.guesses) for part in parts])
            leave()
            self._take(decoded, parts, rows, seconds=perf_counter() - began)
        self._flush()

    def _perceive(self, sequence: Sequence, leave: Callable[[], None]) -> None:
        """Read the image or sound that stands next in a prompt."""
        chunk = sequence.chunk
        assert chunk is not None and self._media is not None  # noqa: PT018  # whoever made the chunk is here
        self._context.adapt(sequence.job.adapter)
        try:
            decoded = self._media.evaluate(
                chunk, self._context.handle, sequence=sequence.slot, position=sequence.computed
            )
        except MeshError as error:
            self._end(sequence, error)
            return
        finally:
            leave()
        match decoded:
            case Decoded.DONE:
                sequence.computed += chunk.positions
                self._deliver(sequence, sequence.progress())
                if not sequence.pending:
                    self._finish(sequence, FinishReason.LENGTH)
            case Decoded.FULL:
                self._make_room()
            case Decoded.FAILED:
                self._end(sequence, Internal("The image or sound could not be computed."))
            case Decoded.ABORTED:
                pass

    def gives_way(self, tenant: str) -> bool:
        """Whether the step that is being computed is not worth waiting for by a request of this tenant.

        May be asked by any thread between `enter` and `leave`: until then nothing changes here.
        """
        free = len(self.running) < self._sequences
        return free and self._planner.gives_way(self.running, tenant=tenant)

    def fail_all(self, error: MeshError) -> None:
        """End all sequences with an error."""
        failed, self.running = self.running, []
        self._cache.forget_all(self._context)
        for sequence in failed:
            self._free(sequence.job)
            sequence.job.sampler.close()
            self._deliver(sequence, error)
        self._flush()

    def _take(self, decoded: Decoded, parts: list[Part], rows: list[int], *, seconds: float) -> None:
        """Take in how a step ended."""
        match decoded:
            case Decoded.DONE:
                self._observer.stepped(seconds=seconds, threads=self.threads)
                self._planner.learn(parts, seconds=seconds)
                for part, row in zip(parts, rows, strict=True):
                    self._advance(part, row)
            case Decoded.FULL:
                self._make_room()
            case Decoded.FAILED:
                self.fail_all(Internal("The model could not be computed."))
            case Decoded.ABORTED:  # the KV cache is as before; the next step goes without those who left
                self._planner.lost(seconds=seconds)

    def _advance(self, part: Part, row: int) -> None:
        sequence = part.sequence
        sequence.computed += part.tokens
        sequence.ahead = max(0, sequence.pending - 1) if sequence.ahead else 0
        if sequence.pending:
            self._deliver(sequence, sequence.progress())
            return
        try:
            self._draw(part, row)
        except MeshError as error:
            self._end(sequence, error)

    def _draw(self, part: Part, row: int) -> None:
        """Draw the next token, and those behind it whose guesses came true."""
        sequence = part.sequence
        if not sequence.job.limit:
            self._finish(sequence, FinishReason.LENGTH)
            return
        stopped = self._jump(sequence)
        if stopped is None and not sequence.pending:
            stopped = self._draw_all(part, row) or self._jump(sequence)
        if stopped is not None:
            self._finish(sequence, stopped)

    def _draw_all(self, part: Part, row: int) -> FinishReason | None:
        sequence, guesses = part.sequence, part.guesses
        accepted = 0
        while (stopped := self._draw_one(sequence, row + accepted)) is None:
            if accepted == len(guesses) or sequence.tokens[-1] != guesses[accepted]:
                break
            sequence.computed += 1
            accepted += 1
        if guesses:
            sequence.confidence.learn(proposed=len(guesses), accepted=accepted)
            self._observer.guessed(proposed=len(guesses), accepted=accepted)
            self._context.keep(sequence.slot, sequence.computed)
        return stopped

    def _jump(self, sequence: Sequence) -> FinishReason | None:
        """Take the tokens that the grammar forces, without drawing them; gives why the answer is over if it is.

        The next step computes them together: jump-ahead decoding (Zheng et al. 2023, SGLang).
        """
        job = sequence.job
        stopped = None
        for token in job.forced.next(min(_JUMP, job.limit - job.answer.tokens)) if job.forced else ():
            if not job.sampler.takes(token):
                break
            if (stopped := self._say(sequence, Token(id=token, piece=self._model.piece(token)))) is not None:
                break
            self._observer.forced()
        sequence.ahead = max(0, sequence.pending - 1)
        return stopped

    def _draw_one(self, sequence: Sequence, row: int) -> FinishReason | None:
        """Draw one token; gives why the answer is over if it is."""
        job = sequence.job
        token = job.sampler.draw(self._context.handle, row, position=job.answer.tokens)
        if self._model.ends(token):
            return FinishReason.STOP
        logprob = job.sampler.logprob(self._context.handle, row, token)
        return self._say(sequence, Token(id=token, piece=self._model.piece(token), logprob=logprob))

    def _say(self, sequence: Sequence, token: Token) -> FinishReason | None:
        """Go on with a token; gives why the answer is over if it is."""
        job = sequence.job
        for delta in job.answer.read(token):
            self._deliver(sequence, delta)
        sequence.tokens.append(token.id)
        if self._planner.speculates(job):
            sequence.lookup.read([token.id])
        if job.forced is not None:
            job.forced.read(token.id)
        if job.foreseen is not None:
            job.foreseen.read([token.id])
        if job.answer.over:
            return FinishReason.STOP
        return FinishReason.LENGTH if job.answer.tokens >= job.limit else None

    def _finish(self, sequence: Sequence, stopped: FinishReason) -> None:
        for delta in sequence.job.answer.finish():
            self._deliver(sequence, delta)
        self._end(sequence, sequence.finished(stopped))

    def _end(self, sequence: Sequence, last: Delivery) -> None:
        """Free the slot first: who sees the end may ask again at once."""
        self._leave(sequence)
        self._deliver(sequence, last)

    def _leave(self, sequence: Sequence) -> None:
        self._cache.release(sequence)
        self.running.remove(sequence)
        self._free(sequence.job)
        sequence.job.sampler.close()

    def _make_room(self) -> None:
        """Move the least recently used conversation out; without one, let the last request wait again."""
        if self._cache.make_room(self._context):
            return
        if len(self.running) > 1:
            self._put_back(max(self.running, key=lambda sequence: (sequence.job.priority, sequence.job.submitted)))
        else:
            self._finish(self.running[0], FinishReason.LENGTH)

    def _put_back(self, sequence: Sequence) -> None:
        """Let a request wait again; what it has drawn is read anew with its prompt when its turn comes."""
        self._cache.release(sequence)
        self._cache.forget(sequence.slot, self._context)
        self.running.remove(sequence)
        sequence.job.emitted = sequence.tokens[len(sequence.job.prompt) :]
        self._free(sequence.job, again=True)

    def _deliver(self, sequence: Sequence, delivery: Delivery) -> None:
        self._outbox.setdefault(sequence.job, []).append(delivery)

    def _flush(self) -> None:
        """Hand out what the step brought."""
        outbox, self._outbox = self._outbox, {}
        for job, deliveries in outbox.items():
            if not job.cancelled:
                job.deliver(deliveries)
