"""The mesh's peers: llama.cpp's server, and llama-cpp-python's."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants.contestant import LLAMA_SERVER, PYTHON_SERVER, Contestant
from benchmarks.contestants.server import served
from benchmarks.model import END_TOKENS, bundled_model
from benchmarks.peers.llama_cpp import llama_cpp
from benchmarks.peers.python_server import python_server


@contextmanager
def llama_server(directory: Path) -> Iterator[Contestant]:
    """Run llama-server with its defaults."""
    command: list[str | Path] = [llama_cpp().server, "--model", bundled_model()]
    with served(LLAMA_SERVER, command, directory=directory, ready="/health") as server:
        yield Contestant(
            name=LLAMA_SERVER,
            endpoint=server.endpoint,
            root=server.pid,
            engine=server.pid,
            settings=f"defaults ({', '.join(_told(server.log))}); full length by `ignore_eos`",
            full_length={"ignore_eos": True},
        )


@contextmanager
def llama_cpp_python(directory: Path) -> Iterator[Contestant]:
    """Run llama-cpp-python's server with its defaults but one.

    By default a request cuts off the answer to the one before it (`interrupt_requests`); clients that ask at once
    would never get whole answers.
    """
    model = ["--model", str(bundled_model())]
    command = [str(python_server()), "-m", "llama_cpp.server", *model, "--interrupt_requests", "false"]
    with served(PYTHON_SERVER, command, directory=directory, ready="/v1/models") as server:
        yield Contestant(
            name=PYTHON_SERVER,
            endpoint=server.endpoint,
            root=server.pid,
            engine=server.pid,
            settings="defaults, but `interrupt_requests=false`, as with its default a request cuts off the answer to "
            "the one before; full length by `logit_bias` against the end tokens",
            full_length={"logit_bias": {str(token): -100 for token in END_TOKENS}},
        )


def _told(log: Path) -> list[str]:
    """Give what llama-server says of its threads, slots and context."""
    words = log.read_text("utf-8", errors="replace")
    return list(dict.fromkeys(re.findall(r"\b(?:n_threads|n_slots|n_ctx_slot|kv_unified) = '?\w+'?", words)))
