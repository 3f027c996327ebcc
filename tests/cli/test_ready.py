import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.servers import serving, tools_service
from threadmesh.cli.health import Condition, Health
from threadmesh.cli.plan import Program
from threadmesh.cli.ports import free_port
from threadmesh.cli.ready import LineDisplay, LiveDisplay, display_on, serving_before, wait_until_serving
from threadmesh.cli.units import Probe
from threadmesh.errors import DeadlineExceeded


def program(address: str, folder: Path, unit: str = "tools") -> Program:
    return Program(
        unit=unit,
        command=(),
        environment={},
        address=address,
        metrics_url="",
        probe=Probe.GRPC,
        log=folder / f"{unit}.log",
    )


def silent(folder: Path, unit: str = "tools") -> Program:
    return program(f"127.0.0.1:{free_port('127.0.0.1')}", folder, unit)


async def test_waiting_ends_when_everything_serves(tmp_path: Path) -> None:
    lines: list[str] = []
    async with serving(tools_service()) as address:
        await wait_until_serving([program(address, tmp_path)], LineDisplay(lines.append), seconds=60)

    assert lines[-1] == "tools: serving"


async def test_a_unit_that_is_late_is_named_with_what_it_last_did(tmp_path: Path) -> None:
    late = silent(tmp_path, "inference")
    late.log.write_text('{"event": "model.loading"}\n')

    with pytest.raises(DeadlineExceeded, match=r"inference is starting \(model\.loading\).*--timeout"):
        await wait_until_serving([late], LineDisplay(lambda _: None), seconds=0.01)


async def test_waiting_ends_with_the_mesh(tmp_path: Path) -> None:
    end = asyncio.get_running_loop().create_future()
    end.set_result(None)

    assert not await serving_before(end, [silent(tmp_path)], LineDisplay(lambda _: None), seconds=60)


def test_a_line_is_written_only_when_something_changed(tmp_path: Path) -> None:
    lines: list[str] = []
    display, tools = LineDisplay(lines.append), silent(tmp_path)

    for condition in (Condition.STARTING, Condition.STARTING, Condition.SERVING):
        display.show(tools, Health(condition=condition))

    assert lines == ["tools: starting", "tools: serving"]


def test_a_terminal_is_shown_what_a_unit_is_doing(tmp_path: Path) -> None:
    tools = silent(tmp_path)
    tools.log.write_text('{"event": "server.starting [1/2] :notes:"}\n')
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)

    with LiveDisplay(console, [tools]) as display:
        display.show(tools, Health(condition=Condition.STARTING))

    assert "server.starting [1/2] :notes:" in screen.getvalue()


def test_pipes_get_lines_and_terminals_get_spinners(tmp_path: Path) -> None:
    tools = [silent(tmp_path)]

    assert isinstance(display_on(Console(file=io.StringIO()), tools), LineDisplay)
    assert isinstance(display_on(Console(file=io.StringIO(), force_terminal=True), tools), LiveDisplay)
