"""What was measured is remembered for one model on one machine."""

from pathlib import Path

import pytest

from inference_svc.adapters.llama_cpp.choices import Choice, ChoiceFile, Machine
from inference_svc.adapters.llama_cpp.memory import available_bytes
from inference_svc.domain.weights import Form

HERE = Machine(processor="Z80 1a2b3c4d", library="llama-cpp-python 0.3", threads=1)
CHOICE = Choice(machine=HERE, form=Form.BF16, typical_ms={Form.FILE: 1600.0, Form.BF16: 800.0})


def choices(directory: Path, machine: Machine = HERE, *, fingerprint: str = "f") -> ChoiceFile:
    return ChoiceFile(directory, fingerprint=fingerprint, machine=machine)


def test_a_choice_is_remembered(tmp_path: Path) -> None:
    assert choices(tmp_path).read() is None
    choices(tmp_path).write(CHOICE)

    assert choices(tmp_path).read() == CHOICE
    assert list(tmp_path.iterdir()) == [choices(tmp_path).path]


@pytest.mark.parametrize("change", [{"processor": "6502"}, {"library": "other"}, {"threads": 2}])
def test_another_machine_remembers_its_own(tmp_path: Path, change: dict[str, object]) -> None:
    other = HERE.model_copy(update=change)
    choices(tmp_path).write(CHOICE)
    assert choices(tmp_path, other).read() is None
    choices(tmp_path, other).write(Choice(machine=other, form=Form.FILE, typical_ms={}))

    assert choices(tmp_path).read() == CHOICE


def test_another_model_has_its_own_choice(tmp_path: Path) -> None:
    choices(tmp_path).write(CHOICE)

    assert choices(tmp_path, fingerprint="g").read() is None


def foreign() -> bytes:
    return CHOICE.model_copy(update={"machine": HERE.model_copy(update={"threads": 9})}).model_dump_json().encode()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff\xfe", CHOICE.model_dump_json().encode()[:-9], foreign(), b'{"form": "q9"}']
)
def test_a_file_of_something_else_is_no_choice(tmp_path: Path, content: bytes) -> None:
    choices(tmp_path).path.write_bytes(content)

    assert choices(tmp_path).read() is None


def test_a_machine_is_the_same_whenever_it_is_asked() -> None:
    assert Machine.this(threads=2) == Machine.this(threads=2) != Machine.this(threads=1)


def system(root: Path, **files: str) -> Path:
    """A file tree with these files; `__` in a name parts folders."""
    for name, content in {"proc__meminfo": "MemTotal: 9 kB\nMemAvailable:    2000 kB\n", **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 2000 * 1024),
        ({"sys__fs__cgroup__memory.max": "max\n", "proc__self__cgroup": "0::/\n"}, 2000 * 1024),
        ({"sys__fs__cgroup__memory.max": "5000\n", "proc__self__cgroup": "0::/\n"}, 5000),
        ({"sys__fs__cgroup__a__memory.max": "4000\n", "proc__self__cgroup": "0::/a/b\n"}, 4000),
        ({"sys__fs__cgroup__memory__memory.limit_in_bytes": "3000\n", "proc__self__cgroup": "4:memory:/x\n"}, 3000),
        ({"proc__meminfo": "MemTotal: 9 kB\n"}, 0),
    ],
)
def test_memory_is_what_the_kernel_has_and_the_control_groups_allow(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert available_bytes(system(tmp_path, **files)) == expected
