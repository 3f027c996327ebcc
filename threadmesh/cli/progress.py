"""How far a command is, shown on a terminal and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from threadmesh.cli.output import stderr


class Bar(Protocol):
    """Is told how far a command is, in the command's own unit."""

    def expect(self, total: float) -> None:
        """Say how much there is in all."""
        ...

    def advance(self, amount: float) -> None:
        """Say how much more is done."""
        ...


class _RichBar:
    def __init__(self, progress: Progress, unit: str) -> None:
        self._progress = progress
        self._task = progress.add_task(unit, total=None)

    def expect(self, total: float) -> None:
        self._progress.update(self._task, total=total)

    def advance(self, amount: float) -> None:
        self._progress.advance(self._task, amount)


@contextmanager
def progress(unit: str) -> Iterator[Bar]:
    """Show a bar on stderr where that is a terminal, until the block ends."""
    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        yield _RichBar(shown, unit)
