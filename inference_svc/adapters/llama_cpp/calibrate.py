"""What a token costs with the weights of a model in one form or another, found out by computing some."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from time import monotonic, process_time
from typing import TypeVar

from inference_svc.adapters.llama_cpp.context import Context, Decoded, Entry
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import ContextOptions
from inference_svc.domain.weights import READING, TOGETHER, Cost

_ROUNDS = 2, 6
_DRAWINGS = 2
_CELLS = 256
_STRIDE = 37

Name = TypeVar("Name")

Work = tuple[int, int]
"""Sequences, and tokens of each."""

_READING: Work = (1, READING)
_WORK = (_READING, *((sequences, 1) for _ in range(_DRAWINGS) for sequences in TOGETHER))


def measure(models: Mapping[Name, LoadedModel], *, threads: int, seconds: float = 1.0) -> dict[Name, Cost]:
    """Give the cost of a token for each of these models, measured for about so long, but at least twice.

    The models take turns, and of each work the least CPU time counts: other processes of a busy machine prolong the
    time that passes, and what they do to caches and clock rate they do to all models. Raises `ModelFileError` for a
    model that does not generate.
    """
    with ExitStack() as stack:
        rigs = {name: stack.enter_context(closing(_Rig(model, threads=threads))) for name, model in models.items()}
        least, most = _ROUNDS
        end = monotonic() + seconds
        for number in range(most):
            if number >= least and monotonic() > end:
                break
            for work in _WORK:
                for rig in rigs.values():
                    rig.do(work)
        return {name: rig.cost() for name, rig in rigs.items()}


class _Rig:
    """A context of a model, and the least CPU seconds that each work took in it."""

    def __init__(self, model: LoadedModel, *, threads: int) -> None:
        most = max(TOGETHER)
        size = ContextOptions(cells=_CELLS, slots=most, rows=most, batch=READING, threads=threads)
        self._tokens = [number * _STRIDE % model.vocabulary for number in range(READING)]
        self._context = Context(model, size)
        self._least: dict[Work, float] = {}

    def do(self, work: Work) -> None:
        sequences, tokens = work
        entries = [
            Entry(sequence=sequence, position=0, tokens=self._tokens[sequence : sequence + tokens], wanted=1)
            for sequence in range(sequences)
        ]
        began = process_time()
        decoded, _ = self._context.decode(entries)
        spent = process_time() - began
        if decoded is not Decoded.DONE:
            raise ModelFileError("The model could not be measured.")
        self._least[work] = min(spent, self._least.get(work, spent))
        self._context.forget_all()

    def cost(self) -> Cost:
        return Cost(
            reading=self._least[_READING] / READING,
            drawing={sequences: self._least[sequences, 1] / sequences for sequences in TOGETHER},
        )

    def close(self) -> None:
        self._context.close()
