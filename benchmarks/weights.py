"""`python -m benchmarks.weights [GGUF]`: what a model costs, and how exact it is, with its weights in other forms.

Exactness is the Kullback-Leibler divergence of a form's next-token distributions from those of the same weights in 32
bits, and how often both find the same token the likeliest; a thread computes them over a text, 64 tokens a step.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from inference_svc.adapters.llama_cpp.calibrate import measure
from inference_svc.adapters.llama_cpp.context import Context, Decoded, Entry
from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import ContextOptions
from inference_svc.adapters.llama_cpp.prepared import requantize
from inference_svc.adapters.model_files import find_model
from inference_svc.domain.weights import READING, TOGETHER, Cost
from threadmesh.telemetry import logs

FILE, EXACT = "as in the file", "F32"
FORMS = {
    "BF16": native.LLAMA_FTYPE_MOSTLY_BF16,
    "F16": native.LLAMA_FTYPE_MOSTLY_F16,
    "Q8_0": native.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_0": native.LLAMA_FTYPE_MOSTLY_Q4_0,
}
TEXT = Path(__file__).parents[1] / "README.md"
_TOKENS = 512
_SECONDS = 20.0

Rows = np.ndarray[Any, np.dtype[np.float64]]
"""Log probabilities, [tokens, vocabulary]."""


def main() -> int:
    """Print both tables."""
    logs.configure(unit="benchmarks", level="warning")
    source = find_model(sys.argv[1] if len(sys.argv) > 1 else "", models_dir=Path()).path
    with TemporaryDirectory() as directory, ExitStack() as stack:

        def opened(path: Path) -> LoadedModel:
            return stack.enter_context(closing(LoadedModel(path)))

        exact = opened(made(source, Path(directory), EXACT, native.LLAMA_FTYPE_ALL_F32))
        copies = {name: opened(made(source, Path(directory), name, kind)) for name, kind in FORMS.items()}
        forms = {FILE: opened(source), **copies}
        table(accuracy_heads(), accuracy(exact, forms))
        table(speed_heads(), speed(forms))
    return 0


def made(source: Path, directory: Path, name: str, file_type: int) -> Path:
    """Write a model in another file type."""
    target = directory / f"{name}.gguf"
    requantize(source, target, file_type=file_type, threads=1)
    return target


def accuracy_heads() -> list[str]:
    """Give the heads of the table of exactness."""
    return ["weights", "MB", "mean KL divergence", "99th percentile", "same likeliest token"]


def accuracy(exact: LoadedModel, forms: Mapping[str, LoadedModel]) -> Iterator[list[str]]:
    """Give how near each form is to the exact one."""
    tokens = exact.tokenize(TEXT.read_text("utf-8"), special=False)[:_TOKENS]
    expected = log_probabilities(exact, tokens)
    for name, model in forms.items():
        found = log_probabilities(model, tokens)
        divergence = (np.exp(expected) * (expected - found)).sum(axis=1)
        same = (expected.argmax(axis=1) == found.argmax(axis=1)).mean()
        worst = np.quantile(divergence, 0.99)
        yield [name, str(model.size.bytes // 1_000_000), f"{divergence.mean():.6f}", f"{worst:.5f}", f"{same:.1%}"]


def log_probabilities(model: LoadedModel, tokens: list[int]) -> Rows:
    """Give what the model expects after each token."""
    size = ContextOptions(cells=_TOKENS, slots=1, rows=READING, batch=READING, threads=1)
    rows = []
    with closing(Context(model, size)) as context:
        for begin in range(0, len(tokens), READING):
            step = enumerate(tokens[begin : begin + READING], start=begin)
            entries = [Entry(sequence=0, position=place, tokens=[token], wanted=1) for place, token in step]
            if context.decode(entries)[0] is not Decoded.DONE:
                raise RuntimeError(model.path)
            logits = native.llama_get_logits(context.handle)
            rows.append(np.ctypeslib.as_array(logits, (len(entries), model.vocabulary)).astype(np.float64))
    logits = np.concatenate(rows)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def speed_heads() -> list[str]:
    """Give the heads of the table of speed."""
    steps = [f"a step of {size}" for size in TOGETHER]
    return ["weights", f"reading {READING}", *steps, "typical request"]


def speed(forms: Mapping[str, LoadedModel]) -> Iterator[list[str]]:
    """Give what each form costs, in milliseconds of CPU on one thread."""
    for name, cost in measure(forms, threads=1, seconds=_SECONDS).items():
        yield [name, *(f"{spent * 1000:.1f}" for spent in steps(cost)), f"{cost.typical * 1000:.0f}"]


def steps(cost: Cost) -> Iterator[float]:
    """Give the CPU seconds of each step that is measured."""
    yield cost.reading * READING
    for size, each in cost.drawing.items():
        yield each * size


def table(heads: list[str], rows: Iterator[list[str]], *, write: Callable[[str], Any] = print) -> None:
    """Write a table in Markdown."""
    for row in (heads, ["---"] * len(heads), *rows):
        write(f"| {' | '.join(row)} |")
    write("")


if __name__ == "__main__":
    sys.exit(main())
