"""The C library: its start, its log, and the functions of ggml that llama-cpp-python does not bind."""

import ctypes
import functools
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

# Compute threads meet at a barrier behind every operation of the model, a thousand times a step. OpenMP's threads spin
# there for milliseconds, and where another process has taken a core, all of them spin until the missing one is back:
# steps were seen to take fifty times as long. Threads that never spin take three times as long when alone. A few
# microseconds of it are enough. The library reads this when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "300")

import llama_cpp.llama_cpp as native  # after the environment that it reads
import llama_cpp.mtmd_cpp as mtmd

__all__ = ["AbortSwitch", "Threadpool", "first_problem", "forget_problems", "mtmd", "native", "start_library"]

log = structlog.get_logger()

# The wheel holds several copies of each library. Through this handle the symbols of the copies in use are found.
_library: ctypes.CDLL = native._lib  # noqa: SLF001  # the package offers no other way to it

_INFO, _ERROR = 2, 4
"""Levels of ggml.h; its debug level tells every tensor."""

_problems: deque[str] = deque(maxlen=8)


@native.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes function type
def _on_log(level: int, text: bytes, _: object) -> None:
    line = text.decode(errors="replace").strip()
    if level == _ERROR and line and line != ".":
        _problems.append(line)
    if line and line != "." and _INFO <= level <= _ERROR:
        log.debug("llama_cpp.log", text=line)


@functools.cache
def start_library() -> None:
    """Initialise llama.cpp once for the process and send its log to ours, at debug level."""
    native.llama_log_set(_on_log, ctypes.c_void_p(0))
    native.llama_backend_init()


def listen(set_log: Callable[..., None]) -> None:
    """Send the log of another library of the family to ours as well; `set_log` is its function for that."""
    set_log(_on_log, ctypes.c_void_p(0))


def features() -> str:
    """Say which instructions of the processor the library was compiled for, and uses."""
    return bytes(native.llama_print_system_info()).decode().strip()


def first_problem() -> str:
    """Give what the library complained about first, which is the cause of the rest; empty if it did not."""
    return _problems[0].rpartition("error loading model: ")[2] if _problems else ""


def forget_problems() -> None:
    """Begin anew to collect complaints."""
    _problems.clear()


class AbortSwitch:
    """Ends a running `llama_decode` within a graph node, about a millisecond.

    ggml asks its abort callback before every node of the graph, hundreds of times a step. A Python callback would take
    the interpreter's lock each time, and wait for it. So the callback is C's own `strlen` over a buffer of ours: the
    length of "" is false, the length of any other text is true.
    """

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self._callback = ctypes.cast(ctypes.CDLL(None).strlen, native.ggml_abort_callback)

    def attach(self, context: Any) -> None:
        """Let this switch end the decoding of a context; it must outlive the context."""
        native.llama_set_abort_callback(context, self._callback, ctypes.addressof(self._flag))

    def set(self) -> None:
        """End the step that runs, or the next one."""
        self._flag[0] = b"\1"

    def clear(self) -> None:
        """Let steps run."""
        self._flag[0] = b"\0"


class _ThreadpoolParams(ctypes.Structure):
    """`struct ggml_threadpool_params` of ggml.h."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * 512),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


class Threadpool:
    """Compute threads that sleep while they wait. ggml's own spin and starve the other processes of a small machine."""

    def __init__(self, threads: int) -> None:
        params = _ThreadpoolParams()
        _library.ggml_threadpool_params_init(ctypes.byref(params), threads)
        params.poll = 0
        new = _library.ggml_threadpool_new
        new.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(new(ctypes.byref(params)))

    def attach(self, context: Any) -> None:
        """Let a context compute with these threads; they must outlive the context."""
        attach = _library.llama_attach_threadpool
        attach.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        attach.restype = None
        attach(context, self._handle, self._handle)

    def close(self) -> None:
        """End the threads."""
        _library.ggml_threadpool_free(self._handle)
