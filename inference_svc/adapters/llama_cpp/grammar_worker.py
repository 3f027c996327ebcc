"""`python -m inference_svc.adapters.llama_cpp.grammar_worker MODEL PARENT SECONDS` tries grammars and may die of one.

It reads grammars from its standard input, each after its length as four bytes, and answers each with one byte. It has
SECONDS of processor time to compile one and four times as much to use it; the kernel ends it where that is not enough,
where the grammar takes too much memory, when its parent ends, and when llama.cpp crashes.
"""

import ctypes
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from inference_svc.adapters.llama_cpp.candidates import Candidates
from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel

READY, USABLE, REFUSED = b"!", b"+", b"-"
SIZE = struct.Struct("<I")

_MEMORY_BYTES = 1 << 30
"""What a grammar may take beyond what the vocabulary does."""
_IDLE_SECONDS = 600
_STEPS = 6
_LONG, _SHORT = 512, 2
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer until the input ends."""
    path, parent, seconds = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the kernel knew whom to watch
        sys.exit("the server is gone")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    _silence(sys.stdout.fileno())
    trial = Trial(LoadedModel(Path(path), vocabulary_only=True), seconds=float(seconds))
    _limit()
    # llama.cpp writes grammars that it refuses to the standard error, and they are what somebody asked for.
    _silence(sys.stderr.fileno())
    answers.write(READY)
    for gbnf in _grammars(sys.stdin.buffer):
        answers.write(USABLE if trial.passes(gbnf) else REFUSED)


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _silence(stream: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _grammars(asked: BinaryIO) -> Iterator[bytes]:
    """Give what is asked; it ends with the input, or when nothing was asked for a while."""
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    while poll.poll(_IDLE_SECONDS * 1000) and len(size := asked.read(SIZE.size)) == SIZE.size:
        yield asked.read(*SIZE.unpack(size))


class Trial:
    """Uses grammars as an answer would."""

    def __init__(self, model: LoadedModel, *, seconds: float) -> None:
        self._model, self._seconds = model, seconds
        lengths = np.array([len(model.piece(token)) for token in range(model.vocabulary)])
        tokens = np.flatnonzero(lengths).astype(np.int32)
        self._tokens = tokens[np.argsort(-lengths[tokens], kind="stable")]
        short = self._tokens[lengths[self._tokens] <= _SHORT]
        self._probes = np.concatenate([self._tokens[:_LONG], short])

    def passes(self, gbnf: bytes) -> bool:
        """Say whether llama.cpp accepts a grammar and can follow it for some tokens; may end the process."""
        signal.setitimer(signal.ITIMER_PROF, self._seconds)
        grammar = native.llama_sampler_init_grammar(self._model.vocab, gbnf, b"root")
        if grammar:
            signal.setitimer(signal.ITIMER_PROF, 4 * self._seconds)
            self._follow(grammar)
            native.llama_sampler_free(grammar)
        signal.setitimer(signal.ITIMER_PROF, 0)
        return bool(grammar)

    def _follow(self, grammar: Any) -> None:
        """Ask about the whole vocabulary once, then follow the longest tokens, which are what multiplies ways."""
        admitted = self._admitted(grammar, self._tokens)
        for _ in range(_STEPS):
            if not admitted:
                return
            native.llama_sampler_accept(grammar, admitted[0])
            admitted = self._admitted(grammar, self._probes)

    def _admitted(self, grammar: Any, tokens: npt.NDArray[np.int32]) -> list[int]:
        candidates = Candidates(len(tokens))
        candidates.fill(tokens, np.zeros(len(tokens), dtype=np.float32))
        candidates.pass_through(grammar)
        admitted, _ = candidates.possible()
        return [int(token) for token in admitted if not self._model.ends(int(token))]


if __name__ == "__main__":
    main()
