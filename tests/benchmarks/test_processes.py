import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.noise import Reading
from benchmarks.processes import cpu_ticks, family, pause, resident_bytes, resume

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
CHILD = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def parent() -> Iterator["subprocess.Popen[str]"]:
    """A process with a child of its own; both end with their input."""
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


def states(pid: int) -> set[str]:
    stats = [Path(f"/proc/{member}/stat").read_text() for member in family(pid)]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def test_a_family_is_a_process_and_its_descendants_parents_first(parent: "subprocess.Popen[str]") -> None:
    first, *others = family(parent.pid)

    assert first == parent.pid
    assert len(others) == 1
    assert others[0] in family(os.getpid())


def test_a_whole_family_is_stopped_and_goes_on(parent: "subprocess.Popen[str]") -> None:
    pause(parent.pid)
    stopped = states(parent.pid)
    resume(parent.pid)

    assert stopped == {"T"}
    assert parent.communicate("", timeout=60)[0] == ""


def test_a_process_that_is_gone_has_no_family_and_no_time(parent: "subprocess.Popen[str]") -> None:
    parent.communicate("", timeout=60)

    assert family(parent.pid) == []
    assert cpu_ticks(parent.pid) == 0


def test_memory_is_in_bytes() -> None:
    assert 1024**2 < resident_bytes(os.getpid()) < 1024**4


def test_the_work_of_others_is_told_as_a_share_of_all_cpu_time() -> None:
    before = Reading(total=1_000, busy=100, own=50, stolen=10)
    after = Reading(total=2_000, busy=700, own=550, stolen=30)

    noise = before.until(after)

    assert (noise.others, noise.stolen) == (10, 2)


def test_a_reading_counts_this_process_as_its_own() -> None:
    reading = Reading.take([])

    assert 0 < reading.own <= reading.busy <= reading.total
