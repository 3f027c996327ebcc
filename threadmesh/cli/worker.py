"""`threadmesh worker`: becomes a process that carries tasks for tools_svc, with the settings that `up` gives it."""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from threadmesh.cli.units import TOOLS
from threadmesh.cli.up import Wishes, planned


def become_worker(wishes: Wishes) -> NoReturn:
    """Replace this process by a worker; raises `ConfigurationError`."""
    command, environment = worker_program(wishes)
    os.execve(command[0], command, environment)  # noqa: S606  # no shell is wanted


def worker_program(
    wishes: Wishes, *, environment: Mapping[str, str] = os.environ
) -> tuple[list[str], Mapping[str, str]]:
    """Give the worker's command and its whole environment."""
    plan, _ = planned(wishes, environment=environment)
    tools = next(program for program in plan.programs if program.unit == TOOLS.name)
    return [sys.executable, "-m", f"{TOOLS.module}.worker"], tools.environment
