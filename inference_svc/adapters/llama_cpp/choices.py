"""Which form of weights was measured to be the best, remembered on disk."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from inference_svc.adapters.llama_cpp.library import features
from inference_svc.domain.weights import Form

_IDENTITY = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "flags", "Features")
"""Lines of /proc/cpuinfo that tell processors apart; the rest differs from boot to boot."""


class Machine(BaseModel):
    """What a measurement depends on beside the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    library: str
    threads: int

    @classmethod
    def this(cls, *, threads: int) -> Self:
        """Describe this machine, computing with so many threads."""
        library = f"llama-cpp-python {version('llama-cpp-python')} {features()}"
        return cls(processor=_processor(), library=library, threads=threads)


class Choice(BaseModel):
    """The better form, and what a typical request cost in each, in milliseconds of CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: Machine
    form: Form
    typical_ms: dict[Form, float]


class ChoiceFile:
    """The choice for one model on one machine; others have files of their own beside it."""

    def __init__(self, directory: Path, *, fingerprint: str, machine: Machine) -> None:
        digest = hashlib.sha256(machine.model_dump_json().encode()).hexdigest()[:8]
        self.path = directory / f"{fingerprint}-{digest}.json"
        self._machine = machine

    def read(self) -> Choice | None:
        """Give what was chosen here; None if nothing was, or if the file is not what this class writes."""
        try:
            choice = Choice.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            return None
        return choice if choice.machine == self._machine else None

    def write(self, choice: Choice) -> None:
        """Remember a choice; nobody sees half of it. Raises `OSError`."""
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        part.write_text(choice.model_dump_json(indent=1))
        part.replace(self.path)


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Give the first processor's name and a digest of what it can do."""
    try:
        first = cpuinfo.read_text("utf-8").partition("\n\n")[0]
    except OSError:
        return platform.machine()
    lines = [line.partition(":") for line in first.splitlines()]
    found = {name.strip(): value.strip() for name, _, value in lines if name.strip() in _IDENTITY}
    digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:8]
    return f"{found.get('model name', platform.machine())} {digest}"
