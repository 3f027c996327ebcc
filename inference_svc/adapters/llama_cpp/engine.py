"""The engine: one thread that owns a context and advances all running requests together, step by step."""

import sys
import threading
from collections.abc import Callable
from contextlib import closing
from time import perf_counter

import structlog

from inference_svc.adapters.llama_cpp.cache import Waits
from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.media import MediaReader
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import EngineOptions, Observer
from inference_svc.adapters.llama_cpp.sequences import Job
from inference_svc.adapters.llama_cpp.stepper import Stepper
from inference_svc.domain.admission import WaitingRoom
from threadmesh.errors import BackendUnavailable, Internal, MeshError

log = structlog.get_logger()

_SWITCH_SECONDS = 0.0005
"""How long this thread waits for the interpreter when a step is done and the event loop is at work; Python's own 5 ms
are as long as a step."""


class Engine:
    """Runs jobs. `submit`, `cancel` and `check` may be called from any thread."""

    def __init__(
        self,
        model: LoadedModel,
        options: EngineOptions,
        *,
        context: Callable[[], Context],
        observer: Observer,
        media: MediaReader | None = None,
    ) -> None:
        self._model, self._options, self._observer, self._media = model, options, observer, media
        self._open_context = context
        self._condition = threading.Condition()
        self._room: WaitingRoom[Job] = WaitingRoom(places=options.queue + options.sequences, slots=options.sequences)
        self._gone: list[Job] = []
        self._reading: set[Job] = set()
        self._in_step = False
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

    @property
    def threads(self) -> int:
        """The number of threads that compute now."""
        return self._stepper.threads

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
            self._room.enter(job, tenant=job.tenant, priority=job.priority, cost=job.cost)
            job.submitted = perf_counter()
            if self._in_step and self._stepper.gives_way(job.tenant):
                self._break_off()
            self._condition.notify()

    def cancel(self, job: Job) -> None:
        """Let a job leave; its slot is free after the running step, which is cut short while it reads this prompt."""
        with self._condition:
            job.cancelled = True
            if self._room.waits(job):
                self._gone.append(job)
            self._room.leave(job)
            if job in self._reading:
                self._break_off()
            self._condition.notify()

    def _break_off(self) -> None:
        """End the running step, unless that would leave half of it in a memory that cannot be cut."""
        if self._options.cache.cuttable:
            self._context.abort()

    def close(self) -> None:
        """Stop after the running step and fail what is left."""
        with self._condition:
            self._closing = True
            if self._reading:
                self._context.abort()
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            with closing(self._open_context()) as self._context:
                self._serve_with(self._context)
        except MeshError as error:
            self._failure = error
        except Exception:
            log.exception("engine.failed")
            self._failure = Internal()
        finally:
            self._opened.set()

    def _serve_with(self, context: Context) -> None:
        self._stepper = stepper = Stepper(
            self._model, context, self._options, observer=self._observer, free=self._free, media=self._media
        )
        stepper.measure()
        self._opened.set()
        try:
            while self._wait_for_work(stepper):
                self._drop_gone(stepper)
                self._admit(stepper)
                stepper.step(self._enter, self._leave_step)
        finally:
            self._fail_all(stepper)

    def _wait_for_work(self, stepper: Stepper) -> bool:
        with self._condition:
            self._observe()
            self._condition.wait_for(lambda: self._closing or self._gone or len(self._room) or stepper.running)
            return not self._closing

    def _drop_gone(self, stepper: Stepper) -> None:
        """Let go of the jobs that were cancelled."""
        with self._condition:
            gone, self._gone = self._gone, []
        for job in gone:
            self._observer.left(phase="queued")
            job.sampler.close()
        stepper.drop_cancelled()

    def _admit(self, stepper: Stepper) -> None:
        """Begin as many jobs as there is room for, in their order; one that waits for another's prompt is passed."""
        with self._condition:
            waiting = list(self._room)
        for job in waiting:
            if len(stepper.running) >= self._options.sequences:
                return
            if not self._serve(job):
                continue
            obstacle = stepper.begin(job)
            if obstacle is not None:
                self._free(job, again=True)
            if obstacle is Waits.ROOM:
                return

    def _serve(self, job: Job) -> bool:
        """Take a job out of the waiting room, unless it has been cancelled or must leave the slot to others."""
        with self._condition:
            served = not job.cancelled and not self._room.stands_back(job)
            if served:
                self._room.serve(job)
            return served

    def _enter(self, readers: set[Job]) -> bool:
        """Let cancellations cut the coming step short, unless one of its readers has left already."""
        with self._condition:
            if self._closing or any(job.cancelled for job in readers):
                return False
            self._context.rearm()
            self._reading, self._in_step = readers, True
            return True

    def _leave_step(self) -> None:
        with self._condition:
            self._reading, self._in_step = set(), False

    def _free(self, job: Job, *, again: bool = False) -> None:
        """Free the place of a job that has ended, or let it wait again."""
        with self._condition:
            if not again:
                self._room.leave(job)
            elif job.cancelled:
                self._gone.append(job)
            else:
                self._room.wait_again(job)
            self._observe()

    def _observe(self) -> None:
        stepper = self._stepper
        self._observer.occupied(running=len(stepper.running), waiting=len(self._room), parked=stepper.parked_bytes)

    def _fail_all(self, stepper: Stepper) -> None:
        with self._condition:
            waiting = list(self._room)
            self._closing = True
        error = BackendUnavailable("The engine has stopped.")
        stepper.fail_all(error)
        for job in [*waiting, *self._gone]:
            job.sampler.close()
            if not job.cancelled:
                job.deliver([error])
