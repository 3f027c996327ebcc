"""`threadmesh up`: starts the mesh and says where it is."""

import asyncio
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from threadmesh.cli import certs, state
from threadmesh.cli.config import Configuration, read_configuration
from threadmesh.cli.exits import Exit, UnitFailed
from threadmesh.cli.output import stderr
from threadmesh.cli.plan import Plan, endpoints, make_plan
from threadmesh.cli.ports import require_free
from threadmesh.cli.ready import display_on, serving_before
from threadmesh.cli.supervise import start_detached, stopped_by_signals, supervised
from threadmesh.cli.targets import DIRECTORY
from threadmesh.cli.unit_logs import last_words
from threadmesh.cli.units import NO_MODEL, UNITS, Unit
from threadmesh.errors import MeshError
from threadmesh.settings import ConfigurationError, data_directory

_PROMPT = '{"stream": true, "messages": [{"role": "user", "content": "Say hello."}]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line said; None and empty mean that it did not."""

    model: str = ""
    config: Path | None = None
    data_dir: Path | None = None
    port: int | None = None
    script: Path | None = None
    mtls: bool = False


def planned(
    wishes: Wishes, *, environment: Mapping[str, str] = os.environ, units: Sequence[Unit] = UNITS
) -> tuple[Plan, Configuration]:
    """Plan a mesh: the command line goes before the environment, which goes before the file."""
    configuration = read_configuration(wishes.config)
    merged = {**configuration.environment, **environment, **_variables(wishes)}
    directory = wishes.data_dir or _environment_directory(environment) or configuration.data_directory
    directory = (directory or data_directory(environment)).expanduser().absolute()
    plan = make_plan(
        merged,
        data_directory=directory,
        stop_seconds=configuration.stop_seconds,
        units=units,
        certificates=directory / DIRECTORY if wishes.mtls or configuration.mtls else None,
    )
    return plan, configuration


def up(wishes: Wishes, *, detach: bool, seconds: float, units: Sequence[Unit] = UNITS) -> None:
    """Start the mesh and return when it has ended, or with `detach` when it serves.

    Raises `AlreadyRunning`, `PortsBusy`, `ConfigurationError`, `UnitFailed` and `DeadlineExceeded`; nothing of the
    mesh runs then.
    """
    plan, configuration = planned(wishes, units=units)
    state.require_idle(plan.data_directory)
    require_free(endpoints(plan, units))
    if plan.certificates:
        certs.ensure(plan.certificates)
    try:
        asyncio.run(_detached(plan, seconds=seconds) if detach else _foreground(plan, seconds=seconds))
    except ConfigurationError as error:
        raise ConfigurationError(configuration.explain(error.message)) from error


def welcome(plan: Plan, *, environment: Mapping[str, str] = os.environ) -> str:
    """Say where everything is, how to try it and how to stop it."""
    key = " -H 'Authorization: Bearer <your key>'" if plan.needs_key else ""
    usual = data_directory(environment).absolute() == plan.data_directory
    where = "" if usual else f" --data-dir {shlex.quote(str(plan.data_directory))}"
    metrics = "\n".join(f"  metrics   {program.metrics_url}  ({program.unit})" for program in plan.programs)
    return (
        f"The mesh is ready.\n\n  API       {plan.url}/v1\n{metrics}\n  logs      {plan.logs}\n\n"
        f"Try it:\n\n  curl -N {plan.url}/v1/chat/completions{key} -H 'Content-Type: application/json' "
        f"-d '{_PROMPT}'\n\nTalk to it:  threadmesh chat{where}\nStop it:     threadmesh down{where}"
    )


def _variables(wishes: Wishes) -> dict[str, str]:
    chosen: dict[str, str] = {}
    if wishes.model:
        is_path = wishes.model != NO_MODEL and not wishes.model.startswith("hf:")
        chosen["INFERENCE_MODEL"] = str(Path(wishes.model).expanduser().absolute()) if is_path else wishes.model
    if wishes.port is not None:
        chosen["FACADE_PORT"] = str(wishes.port)
    if wishes.script:
        chosen["INFERENCE_SCRIPT"] = str(wishes.script.absolute())
    return chosen


def _environment_directory(environment: Mapping[str, str]) -> Path | None:
    chosen = environment.get("THREADMESH_DATA_DIR")
    return Path(chosen) if chosen else None


async def _foreground(plan: Plan, *, seconds: float) -> None:
    console = stderr()
    notice = partial(console.print, markup=False)
    with supervised(plan, detached=False, notice=notice) as supervisor, stopped_by_signals(supervisor):
        running = asyncio.ensure_future(supervisor.run())
        try:
            if await serving_before(running, plan.programs, display_on(console, plan.programs), seconds=seconds):
                typer.echo(f"{welcome(plan)} (or Ctrl-C here)")
            await running
        finally:
            if not running.done():
                supervisor.stop()
                await asyncio.gather(running, return_exceptions=True)
    notice("The mesh has stopped.")


async def _detached(plan: Plan, *, seconds: float) -> None:
    console = stderr()
    log = plan.logs / "supervisor.log"
    supervisor = start_detached(plan, log)
    gone = asyncio.ensure_future(_gone(supervisor))
    try:
        if not await serving_before(gone, plan.programs, display_on(console, plan.programs), seconds=seconds):
            raise _failure(supervisor.returncode, log)
    except (MeshError, asyncio.CancelledError):
        supervisor.terminate()
        await gone
        raise
    gone.cancel()
    typer.echo(welcome(plan))


async def _gone(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that must outlive this one; asyncio's own child processes are killed at its end."""
    while process.poll() is None:  # noqa: ASYNC110  # a process has no event to wait for
        await asyncio.sleep(0.1)


def _failure(status: int | None, log: Path) -> MeshError:
    words = last_words(log) or f"the supervisor ended without a word; its log is {log}"
    return ConfigurationError(words) if status == Exit.CONFIGURATION else UnitFailed(words)
