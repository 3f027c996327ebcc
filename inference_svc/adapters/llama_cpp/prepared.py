"""Copies of model files with dequantised weights: made once, kept on disk, mapped into memory by all processes."""

import ctypes
import fcntl
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import structlog

from inference_svc.adapters.llama_cpp.library import first_problem, forget_problems, native, start_library
from inference_svc.domain.weights import Form

log = structlog.get_logger()

FILE_TYPES = {Form.BF16: native.LLAMA_FTYPE_MOSTLY_BF16, Form.F16: native.LLAMA_FTYPE_MOSTLY_F16}
"""The `llama_ftype` of each form that is made."""

_PART = ".part"
_SPARE_BYTES = 256 * 1024 * 1024
_LOCK_SECONDS = 600.0
_ASK_SECONDS = 0.1
_PROGRESS_SECONDS = 5.0


class NotPreparedError(Exception):
    """A copy could not be made; the message says why."""


class PreparedCopies:
    """The copies in a directory. They are named for what they are of, so none is ever out of date; none is deleted."""

    def __init__(self, directory: Path, *, spare_bytes: int = _SPARE_BYTES) -> None:
        self._directory, self._spare = directory, spare_bytes

    def path(self, fingerprint: str, form: Form) -> Path:
        """Give the place of a copy."""
        return self._directory / f"{fingerprint}-{form}.gguf"

    @contextmanager
    def alone(self, *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
        """Keep other processes from preparing for the block, waiting for them so long. Raises `NotPreparedError`.

        The lock goes with its process, so what lies half-made in the directory now was left by one that was killed.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with (self._directory / ".lock").open("a") as file:
                _lock(file.fileno(), seconds=seconds)
                for left in self._directory.glob(f"*{_PART}"):
                    left.unlink()
                yield
        except OSError as error:
            raise NotPreparedError(f"{self._directory}: {error.strerror or error}") from error

    def make(self, source: Path, target: Path, *, form: Form, size: int, threads: int) -> None:
        """Make a copy of about `size` bytes; nobody sees it before it is whole. To be done `alone`.

        Raises `NotPreparedError`, also where it would leave too little room on the disk.
        """
        free = shutil.disk_usage(target.parent).free
        if free < size + self._spare:
            raise NotPreparedError(f"{target.parent} has {free // 1_000_000} MB free, a copy takes {size // 1_000_000}")
        part = target.with_name(target.name + _PART)
        try:
            _convert(source, part, form=form, size=size, threads=threads)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _lock(file: int, *, seconds: float) -> None:
    end = monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > end:
                raise
            sleep(_ASK_SECONDS)
        else:
            return


def _convert(source: Path, part: Path, *, form: Form, size: int, threads: int) -> None:
    megabytes = size // 1_000_000
    log.info("weights.preparing", form=form, megabytes=megabytes)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights") as worker:
        done = worker.submit(requantize, source, part, file_type=FILE_TYPES[form], threads=threads)
        while wait([done], timeout=_PROGRESS_SECONDS).not_done:
            written = part.stat().st_size if part.exists() else 0
            log.info("weights.preparing", form=form, megabytes=written // 1_000_000, of=megabytes)
        done.result()


def requantize(source: Path, target: Path, *, file_type: int, threads: int) -> None:
    """Write a model's weights in another of llama.cpp's file types. Raises `NotPreparedError`.

    Where they are dequantised, the output matrix and the embeddings have 8 bits all the same: every token reads all of
    the output matrix, and answers that are drawn alone wait for memory.
    """
    start_library()
    forget_problems()
    params = native.llama_model_quantize_default_params()
    params.ftype = file_type
    if file_type in FILE_TYPES.values():
        params.token_embedding_type = params.output_tensor_type = native.GGML_TYPE_Q8_0
    params.allow_requantize = True
    params.nthread = threads
    if native.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)):
        raise NotPreparedError(first_problem() or f"{source} could not be converted")
