"""Lets grammars into the engine's process that another process has survived.

llama.cpp parses and follows grammars by code that some texts send into endless growth, endless recursion or `abort`.
What is known to do so is refused by rules (`gbnf_check`); the rest is first tried by a worker process of ours.
"""

import hashlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from contextlib import suppress
from pathlib import Path
from queue import LifoQueue

import structlog

from inference_svc.adapters.llama_cpp.grammar_worker import READY, REFUSED, SIZE, USABLE
from inference_svc.domain.gbnf_check import check_rules
from threadmesh.errors import BackendUnavailable, Overloaded, UnsupportedSchema

log = structlog.get_logger()

_WORKERS = 2
"""One costly grammar does not hold up the next; the second is started only while the first is busy."""
_START_SECONDS = 60.0
_WAIT_SECONDS = 10.0
STARTS_A_MINUTE = 30
REMEMBERED = 64
SCOPES = 256
_NOT_OF_A_GRAMMAR = frozenset({0, signal.SIGKILL, signal.SIGTERM, signal.SIGINT})
"""Ends that somebody else chose, or the worker itself after a while without work."""


class GrammarGate:
    """Checks grammars; may be used from several threads, of which each waits for its own grammar only."""

    def __init__(self, model: Path, *, seconds: float) -> None:
        """`seconds` of processor time may be spent to compile a grammar. The workers start when they are needed."""
        self._verdicts = Verdicts()
        self._starts = Starts()
        self._idle: LifoQueue[Worker] = LifoQueue()
        self.workers = [Worker(model, seconds=seconds, starts=self._starts) for _ in range(_WORKERS)]
        for worker in self.workers:
            self._idle.put(worker)

    def check(self, gbnf: str, *, scope: str, field: str) -> None:
        """Return if llama.cpp can compile and follow the grammar; what is known already costs some microseconds.

        Verdicts are remembered per `scope`. Raises `UnsupportedSchema`, and `Overloaded` if that cannot be told now.
        """
        digest = hashlib.sha256(gbnf.encode()).digest()
        known, verdict = self._verdicts.find(scope, digest)
        if not known:
            verdict = self._judge(gbnf, field)
            self._verdicts.remember(scope, digest, verdict)
        if verdict is not None:
            raise UnsupportedSchema(verdict[0], field=field, kind=verdict[1])

    def _judge(self, gbnf: str, field: str) -> "Verdict":
        try:
            check_rules(gbnf, field=field)
        except UnsupportedSchema as error:
            return error.message, error.facts["kind"]
        worker = self._idle.get()
        try:
            return worker.judge(gbnf.encode())
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.end()


Verdict = tuple[str, str] | None
"""Why a grammar cannot be used, as a message and a kind; None where it can."""


class Verdicts:
    """The last verdicts of each scope, bounded in both."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scopes: OrderedDict[str, OrderedDict[bytes, Verdict]] = OrderedDict()

    def find(self, scope: str, digest: bytes) -> tuple[bool, Verdict]:
        """Say whether there is a verdict, and which."""
        with self._lock:
            verdicts = self._scopes.get(scope)
            if verdicts is None or digest not in verdicts:
                return False, None
            self._scopes.move_to_end(scope)
            verdicts.move_to_end(digest)
            return True, verdicts[digest]

    def remember(self, scope: str, digest: bytes, verdict: Verdict) -> None:
        """Keep a verdict and forget the one that was longest unused."""
        with self._lock:
            verdicts = self._scopes.setdefault(scope, OrderedDict())
            self._scopes.move_to_end(scope)
            verdicts[digest] = verdict
            if len(verdicts) > REMEMBERED:
                verdicts.popitem(last=False)
            if len(self._scopes) > SCOPES:
                self._scopes.popitem(last=False)


class Starts:
    """Bounds how often workers are started: each costs as much as some tokens."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=STARTS_A_MINUTE)

    def count(self) -> None:
        """Count a start. Raises `Overloaded` if there were too many in the last minute."""
        now = time.monotonic()
        if len(self._times) == STARTS_A_MINUTE and now - self._times[0] < 60:
            raise Overloaded("Too many grammars could not be compiled; try again in a minute.").after(60.0)
        self._times.append(now)


class Worker:
    """A process that tries grammars, one at a time; a new one is started after its end."""

    def __init__(self, model: Path, *, seconds: float, starts: Starts) -> None:
        arguments = [str(model), str(os.getpid()), str(seconds)]
        self._command = [sys.executable, "-m", "inference_svc.adapters.llama_cpp.grammar_worker", *arguments]
        self._starts = starts
        self._process: subprocess.Popen[bytes] | None = None

    def judge(self, gbnf: bytes) -> Verdict:
        """Let the process try a grammar. Raises `Overloaded` if the machine is too busy to tell."""
        for _ in range(2):
            process = self._process if self._process and self._process.poll() is None else self._start()
            answer = _asked(process, gbnf)
            if answer == USABLE:
                return None
            if answer == REFUSED:
                return "llama.cpp refuses this grammar.", "schema_unsupported"
            if answer is None:
                self.end()
                break
            if -(status := process.wait()) not in _NOT_OF_A_GRAMMAR:
                log.warning("grammar.worker_died", status=status)
                return _why(status), "schema_too_complex"
        raise Overloaded("The machine is too busy to compile this grammar; try again in a moment.")

    def _start(self) -> subprocess.Popen[bytes]:
        self.end()
        self._starts.count()
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process = process
        if _answer(process, within=_START_SECONDS) != READY:
            self.end()
            raise BackendUnavailable("Grammars cannot be compiled now; the log tells why.")
        return process

    @property
    def running(self) -> int:
        """The process's id; 0 while there is none."""
        return self._process.pid if self._process else 0

    def end(self) -> None:
        """End the process; the next grammar starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(BrokenPipeError):
                process.communicate()


def _asked(process: subprocess.Popen[bytes], gbnf: bytes) -> bytes | None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended meanwhile, which the answer will tell
        process.stdin.write(SIZE.pack(len(gbnf)) + gbnf)
        process.stdin.flush()
    return _answer(process, within=_WAIT_SECONDS)


def _why(status: int) -> str:
    """Say what a grammar did that ended the worker."""
    if status == -signal.SIGPROF:
        return "The grammar takes too long to compile or to follow; simplify it."
    return "The grammar needs too much memory or crashes llama.cpp; simplify it."


def _answer(process: subprocess.Popen[bytes], *, within: float) -> bytes | None:
    """Give the process's answer, nothing if it has ended; None if neither comes `within` so many seconds."""
    assert process.stdout is not None
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    return process.stdout.read(1) if poll.poll(within * 1000) else None
