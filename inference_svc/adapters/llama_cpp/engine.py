"""The engine: one thread that owns a context and advances all running requests together, step by step."""

import threading
from collections.abc import Callable
from time import perf_counter

import structlog

from inference_svc.adapters.llama_cpp.cache import Cache
from inference_svc.adapters.llama_cpp.context import Context, Decoded
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import EngineOptions, Observer
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job, Sequence
from inference_svc.domain.answer import Token
from inference_svc.domain.batch import Pace, plan
from threadmesh.conversation import FinishReason
from threadmesh.errors import BackendUnavailable, Internal, MeshError, Overloaded

log = structlog.get_logger()

Part = tuple[Sequence, int]


class Engine:
    """Runs jobs. `submit`, `cancel` and `check` may be called from any thread."""

    def __init__(
        self, model: LoadedModel, options: EngineOptions, *, context: Callable[[], Context], observer: Observer
    ) -> None:
        self._model, self._options, self._observer = model, options, observer
        self._open_context = context
        self._cache = Cache(options.sequences, cells=options.cells, reusable=model.reusable)
        self._condition = threading.Condition()
        self._waiting: list[Job] = []
        self._running: list[Sequence] = []
        self._reading: set[Job] = set()
        self._pace = Pace()
        self._adapter = ""
        self._arrivals = 0
        self._opened = threading.Event()
        self._failure: MeshError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until it has its context. Raises what the context raised."""
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            raise self._failure

    def check(self) -> None:
        """Return if the engine runs. Raises `BackendUnavailable`."""
        if self._failure is not None or self._closing:
            raise BackendUnavailable("The engine has stopped.") from self._failure

    def wait(self) -> None:
        """Wait until the engine has stopped. Raises what stopped it, if that was not `close`."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def submit(self, job: Job) -> None:
        """Queue a job. Raises `Overloaded` if too many wait, `BackendUnavailable` if the engine has stopped."""
        with self._condition:
            self.check()
            held = [*self._waiting, *(sequence.job for sequence in self._running)]
            if sum(not each.cancelled for each in held) >= self._options.queue + self._options.sequences:
                raise Overloaded
            self._arrivals += 1
            job.number = self._arrivals
            self._waiting.append(job)
            self._condition.notify()

    def cancel(self, job: Job) -> None:
        """Let a job leave; its slot is free after the running step, which is cut short while it reads this prompt."""
        with self._condition:
            job.cancelled = True
            if job in self._reading:
                self._context.abort()
            self._condition.notify()

    def close(self) -> None:
        """Stop after the running step and fail what is left."""
        with self._condition:
            self._closing = True
            if self._reading:
                self._context.abort()
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._context = self._open_context()
        except MeshError as error:
            self._failure = error
            return
        finally:
            self._opened.set()
        try:
            while self._wait_for_work():
                self._drop_cancelled()
                self._admit()
                self._step()
        except Exception:
            log.exception("engine.failed")
            self._failure = Internal()
        finally:
            self._fail_all(BackendUnavailable("The engine has stopped."))
            self._context.close()

    def _wait_for_work(self) -> bool:
        with self._condition:
            self._observe()
            self._condition.wait_for(lambda: self._closing or self._waiting or self._running)
            return not self._closing

    def _drop_cancelled(self) -> None:
        with self._condition:
            gone = [job for job in self._waiting if job.cancelled]
            self._waiting = [job for job in self._waiting if not job.cancelled]
        for job in gone:
            self._observer.left(phase="queued")
            job.sampler.close()
        for sequence in [each for each in self._running if each.job.cancelled]:
            self._observer.left(phase="prefill" if sequence.reading else "decode")
            self._leave(sequence)

    def _admit(self) -> None:
        while (job := self._next_job()) is not None:
            sequence = self._cache.take(job, self._context, margin=self._options.batch)
            if sequence is None:
                return
            with self._condition:
                self._waiting.remove(job)
            self._running.append(sequence)
            self._deliver(sequence, sequence.progress())

    def _next_job(self) -> Job | None:
        with self._condition:
            return min(self._waiting, key=lambda job: job.order, default=None)

    def _step(self) -> None:
        running = self._of_next_adapter()
        by_slot = {sequence.slot: sequence for sequence in running}
        decoding = [sequence.slot for sequence in running if sequence.pending == 1]
        prefilling = [(sequence.slot, sequence.pending) for sequence in running if sequence.pending > 1]
        seconds = self._options.beside_seconds if decoding else self._options.prefill_seconds
        allowed = self._pace.tokens_within(seconds, most=self._options.batch)
        step = plan(decoding=decoding, prefilling=prefilling, batch=self._options.batch, prefill=allowed)
        parts = [(by_slot[slot], 1) for slot in step.decode]
        parts += [(by_slot[chunk.sequence], chunk.tokens) for chunk in step.prefill]
        if parts and self._enter(parts):
            self._compute(parts)

    def _of_next_adapter(self) -> list[Sequence]:
        """Give the sequences of the adapter whose turn it is: a step computes with one, and they take turns."""
        adapters = sorted({sequence.job.adapter for sequence in self._running})
        self._adapter = next((each for each in adapters if each > self._adapter), adapters[0] if adapters else "")
        return [sequence for sequence in self._running if sequence.job.adapter == self._adapter]

    def _enter(self, parts: list[Part]) -> bool:
        """Let cancellations cut the coming step short, unless one of its readers has left already."""
        with self._condition:
            readers = {sequence.job for sequence, tokens in parts if tokens > 1}
            if any(job.cancelled for job in readers):
                return False
            self._context.rearm()
            self._reading = readers
            return True

    def _compute(self, parts: list[Part]) -> None:
        began = perf_counter()
        self._context.adapt(self._adapter)
        decoded, rows = self._context.decode([sequence.entry(tokens) for sequence, tokens in parts])
        with self._condition:
            self._reading = set()
        match decoded:
            case Decoded.DONE:
                self._learn(parts, perf_counter() - began)
                for (sequence, tokens), row in zip(parts, rows, strict=True):
                    self._advance(sequence, tokens, row)
            case Decoded.FULL:
                self._make_room()
            case Decoded.FAILED:
                self._fail_all(Internal("The model could not be computed."))
            case Decoded.ABORTED:
                pass  # the KV cache is as before; the next step goes without those who left

    def _learn(self, parts: list[Part], seconds: float) -> None:
        self._observer.stepped(seconds=seconds)
        if all(tokens > 1 for _, tokens in parts):
            self._pace = self._pace.after(tokens=sum(tokens for _, tokens in parts), seconds=seconds)

    def _advance(self, sequence: Sequence, tokens: int, row: int) -> None:
        sequence.computed += tokens
        if sequence.pending:
            self._deliver(sequence, sequence.progress())
            return
        try:
            self._draw(sequence, row)
        except MeshError as error:
            self._end(sequence, error)

    def _draw(self, sequence: Sequence, row: int) -> None:
        job = sequence.job
        if not job.limit:
            self._finish(sequence, FinishReason.LENGTH)
            return
        token = job.sampler.draw(self._context.handle, row, position=job.answer.tokens)
        if self._model.ends(token):
            self._finish(sequence, FinishReason.STOP)
            return
        logprob = job.sampler.logprob(self._context.handle, row, token)
        for delta in job.answer.read(Token(id=token, piece=self._model.piece(token), logprob=logprob)):
            self._deliver(sequence, delta)
        sequence.tokens.append(token)
        if job.answer.over:
            self._finish(sequence, FinishReason.STOP)
        elif job.answer.tokens >= job.limit:
            self._finish(sequence, FinishReason.LENGTH)

    def _finish(self, sequence: Sequence, stopped: FinishReason) -> None:
        for delta in sequence.job.answer.finish():
            self._deliver(sequence, delta)
        self._end(sequence, sequence.finished(stopped))

    def _end(self, sequence: Sequence, last: Delivery) -> None:
        """Free the slot first: who sees the end may ask again at once."""
        self._leave(sequence)
        self._observe()
        self._deliver(sequence, last)

    def _leave(self, sequence: Sequence) -> None:
        self._cache.release(sequence)
        self._running.remove(sequence)
        sequence.job.sampler.close()

    def _make_room(self) -> None:
        """Forget the least recently used conversation; without one, let the last request wait again."""
        if self._cache.forget_oldest(self._context):
            return
        if len(self._running) > 1:
            self._put_back(max(self._running, key=lambda sequence: sequence.job.order))
        else:
            self._finish(self._running[0], FinishReason.LENGTH)

    def _put_back(self, sequence: Sequence) -> None:
        """Let a request wait again; what it has drawn is read anew with its prompt when its turn comes."""
        self._cache.release(sequence)
        self._cache.forget(sequence.slot, self._context)
        self._running.remove(sequence)
        sequence.job.emitted = sequence.tokens[len(sequence.job.prompt) :]
        with self._condition:
            self._waiting.append(sequence.job)

    def _fail_all(self, error: MeshError) -> None:
        with self._condition:
            failed = [*(sequence.job for sequence in self._running), *self._waiting]
            self._waiting, self._running = [], []
        self._cache.forget_all(self._context)
        for job in failed:
            job.sampler.close()
            if not job.cancelled:
                job.deliver(error)

    def _observe(self) -> None:
        self._observer.occupied(running=len(self._running), waiting=len(self._waiting))

    def _deliver(self, sequence: Sequence, delivery: Delivery) -> None:
        if not sequence.job.cancelled:
            sequence.job.deliver(delivery)
