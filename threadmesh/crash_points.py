"""Places where a process can be made to break, so that tests see what is left then.

`THREADMESH_CRASH=<point>[:<nth>][:kill|stop|eio|delay=<ms>]` breaks the process when it comes to a point for the nth
time (the first by default): `kill` ends it at once (the default), `stop` halts it as SIGSTOP does, `eio` raises an
input/output error, `delay` holds the whole process up. Without the variable a point costs a comparison.
"""

import errno
import os
import re
import signal
import sys
import time
from dataclasses import dataclass

from threadmesh.settings import CONFIGURATION_EXIT_STATUS

VARIABLE = "THREADMESH_CRASH"
POINTS = (
    "facade.after_start",
    "facade.before_flush",
    "facade.after_flush",
    "run.after_claim",
    "run.before_append",
    "run.after_append",
    "run.after_intent",
    "run.before_send",
    "run.after_send",
    "run.before_result_commit",
    "run.after_result_commit",
    "run.before_waiting",
    "run.after_waiting",
    "run.before_answered",
    "run.after_answered",
    "run.before_continuation",
    "run.after_continuation",
    "run.before_terminal",
    "run.after_terminal",
    "drain.before_release",
    "drain.after_release",
    "infer.after_admit",
    "infer.mid_prefill",
    "infer.after_token",
    "infer.before_final",
    "tools.before_write",
    "tools.after_read",
    "tools.after_question",
    "tools.before_reply",
    "ctx.before_commit",
    "ctx.after_commit",
    "ctx.before_waiting",
    "ctx.after_waiting",
    "ctx.before_answer",
    "ctx.after_answer",
    "ctx.mid_compaction",
    "ctx.mid_migration",
)
_FORM = re.compile(r"(?P<point>[a-z_.]+)(?::(?P<nth>[1-9]\d{0,5}))?(?::(?P<action>kill|stop|eio|delay=\d{1,6}))?")


@dataclass(slots=True, kw_only=True)
class Plan:
    """Breaks at one point, when it is reached for the `left`-th time from now."""

    point: str
    left: int
    action: str

    def reach(self, point: str) -> None:
        """Come to a point."""
        if point != self.point or not self.left:
            return
        self.left -= 1
        if not self.left:
            self._break()

    def _break(self) -> None:
        match self.action.partition("="):
            case ("stop", _, _):
                os.kill(os.getpid(), signal.SIGSTOP)
            case ("eio", _, _):
                raise OSError(errno.EIO, f"{VARIABLE}={self.point}")
            case ("delay", _, milliseconds):
                time.sleep(int(milliseconds) / 1000)
            case _:
                os.kill(os.getpid(), signal.SIGKILL)


def plan_of(text: str) -> Plan | None:
    """Read a plan; None where none is made. Raises `ValueError` in a sentence."""
    if not text:
        return None
    found = _FORM.fullmatch(text)
    if found is None or found["point"] not in POINTS:
        raise ValueError(f"{VARIABLE} must be <point>[:<nth>][:kill|stop|eio|delay=<ms>]; points: {', '.join(POINTS)}")
    return Plan(point=found["point"], left=int(found["nth"] or 1), action=found["action"] or "kill")


def crash_point(point: str) -> None:
    """Come to a point, one of `POINTS`."""
    if _plan is not None:
        _plan.reach(point)


try:
    _plan = plan_of(os.environ.get(VARIABLE, ""))
except ValueError as error:
    print(error, file=sys.stderr)  # noqa: T201  # before there are logs
    sys.exit(CONFIGURATION_EXIT_STATUS)
