"""Waiting until a mesh serves, with something to look at meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from threadmesh.cli.health import Condition, Health, ask
from threadmesh.cli.output import one_line
from threadmesh.cli.plan import Program
from threadmesh.cli.unit_logs import last_event
from threadmesh.errors import DeadlineExceeded

_PAUSE_SECONDS = 0.2


class Display(Protocol):
    """Shows how far each unit is; entered before the first `show`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, program: Program, health: Health) -> None:
        """Show a unit's health as it is now."""
        ...


class LineDisplay:
    """One line whenever a unit's condition changes: for pipes and logs."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._shown: dict[str, Condition] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, program: Program, health: Health) -> None:
        """Write a line, unless it would say what the one before said."""
        if self._shown.get(program.unit) is not health.condition:
            self._shown[program.unit] = health.condition
            self._write(f"{program.unit}: {health.condition}")


class _Detail(ProgressColumn):
    """A unit's own words, which are no markup."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["detail"]), style="dim")


class LiveDisplay:
    """A spinner for each unit with its last log line: for terminals."""

    def __init__(self, console: Console, programs: Sequence[Program]) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<10}"),
            TextColumn("{task.fields[condition]:<12}"),
            TimeElapsedColumn(),
            _Detail(),
            console=console,
        )
        self._tasks = {
            each.unit: self._progress.add_task(each.unit, total=1, condition="starting", detail="") for each in programs
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, program: Program, health: Health) -> None:
        """Show the condition, and while the unit does not serve, what it is doing."""
        doing = "" if health.serving else one_line(last_event(program.log), limit=60)
        self._progress.update(
            self._tasks[program.unit],
            completed=1 if health.serving else 0,
            condition=str(health.condition),
            detail=doing,
        )


def display_on(console: Console, programs: Sequence[Program]) -> Display:
    """Give the display that suits the console."""
    if console.is_terminal:
        return LiveDisplay(console, programs)
    return LineDisplay(lambda line: console.print(line, markup=False))


async def serving_before(
    end: asyncio.Future[None], programs: Sequence[Program], display: Display, *, seconds: float
) -> bool:
    """Say whether all programs serve before `end` is done; raises `DeadlineExceeded` when neither comes in time."""
    waiting = asyncio.ensure_future(wait_until_serving(programs, display, seconds=seconds))
    try:
        await asyncio.wait({end, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
        return waiting.done()
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def wait_until_serving(programs: Sequence[Program], display: Display, *, seconds: float) -> None:
    """Return when all programs serve at once; raises `DeadlineExceeded` with those that do not after `seconds`."""
    healths: list[Health] = []
    with display:
        try:
            async with asyncio.timeout(seconds):
                while not healths or not all(health.serving for health in healths):
                    healths = await _round(programs, display)
        except TimeoutError as error:
            raise _late(programs, healths, seconds) from error


async def _round(programs: Sequence[Program], display: Display) -> list[Health]:
    healths = await asyncio.gather(*(ask(program.target, program.probe) for program in programs))
    for program, health in zip(programs, healths, strict=True):
        display.show(program, health)
    if not all(health.serving for health in healths):
        await asyncio.sleep(_PAUSE_SECONDS)
    return healths


def _late(programs: Sequence[Program], healths: Sequence[Health], seconds: float) -> DeadlineExceeded:
    conditions = healths or [Health(condition=Condition.STARTING)] * len(programs)
    late = [
        f"{program.unit} is {health.condition} ({health.detail or last_event(program.log) or 'silent'})"
        for program, health in zip(programs, conditions, strict=True)
        if not health.serving
    ]
    return DeadlineExceeded(f"After {seconds:g} s {'; '.join(late)}; see the logs, or allow more time with --timeout.")
