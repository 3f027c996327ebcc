"""The runs whose calls are remembered, and who may speak for them."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from threadmesh.conversation import ToolCall
from threadmesh.errors import StaleEpoch
from tools_svc.domain.call import Continuation
from tools_svc.domain.execution import Execution
from tools_svc.domain.follow import TaskExecution
from tools_svc.domain.run_log import RunLog, Total

Carried = Execution | TaskExecution
"""A call that is under way or has ended, by itself or as a task."""

_MOST_RUNS = 512
_MOST_BYTES = 64 * 1024 * 1024
_MOST_EPOCHS = 65_536


@dataclass(slots=True, kw_only=True)
class Run:
    """A run's calls by id, those of them that went out, and the log of what happened to them."""

    log: RunLog
    calls: dict[str, ToolCall] = field(default_factory=dict)
    executions: dict[str, Carried] = field(default_factory=dict)

    def answer(self, execution: Execution, continuation: Continuation) -> None:
        """Let a call go on with these answers, if it asks for them."""
        if execution.answer(continuation):
            self.log.answered(execution.call.id)

    def stop(self, execution: Execution, *, if_asking: bool) -> bool:
        """Stop a call, or only that anybody answers what it asks; False if it had ended before, or goes on."""
        stopped = execution.forsake() if if_asking else execution.cancel()
        if stopped:
            self.log.answered(execution.call.id)
        return stopped

    def forget(self, call_id: str) -> None:
        """Forget a call, so that it can begin anew."""
        del self.calls[call_id], self.executions[call_id]
        self.log.forget(call_id)


class Runs:
    """Every run with calls, in memory; the longest unused are forgotten beyond 512 runs or 64 MiB of results.

    Calls without a run id are each other's strangers: every batch of them is a run of its own.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._epochs: OrderedDict[str, int] = OrderedDict()
        self._nameless = 0
        self._total = Total()

    def open(self, run_id: str) -> Run:
        """Give the run, a new one if need be."""
        key = f"run:{run_id}"
        if not run_id:
            self._nameless += 1
            key = f"nameless:{self._nameless}"
        run = self._runs.get(key) or Run(log=RunLog(self._total))
        self._runs[key] = run
        self._runs.move_to_end(key)
        for forgotten in list(self._forgettable(keep=key)):
            self._total.bytes -= self._runs.pop(forgotten).log.bytes
        return run

    def find(self, run_id: str) -> Run | None:
        """Give the run if it is remembered."""
        return self._runs.get(f"run:{run_id}")

    def find_call(self, run_id: str, call_id: str) -> Run | None:
        """Give the run that knows the call; of calls without a run the newest with that id."""
        if run_id:
            candidates = [run] if (run := self.find(run_id)) else []
        else:
            candidates = [run for key, run in reversed(self._runs.items()) if key.startswith("nameless:")]
        return next((run for run in candidates if call_id in run.calls), None)

    def fence(self, run_id: str, epoch: int) -> None:
        """Let an owner of the run pass; raises `StaleEpoch` once an owner with a higher epoch has come by."""
        highest = self._epochs.get(run_id, 0)
        if epoch < highest:
            raise StaleEpoch(epoch=epoch, current=highest)
        if run_id and epoch:
            self._epochs[run_id] = epoch
            self._epochs.move_to_end(run_id)
        if len(self._epochs) > _MOST_EPOCHS:
            self._epochs.popitem(last=False)

    def _forgettable(self, *, keep: str) -> Iterator[str]:
        count, size = len(self._runs), self._total.bytes
        for key, run in self._runs.items():
            if count <= _MOST_RUNS and size <= _MOST_BYTES:
                return
            if run.log.in_flight == 0 and key != keep:
                count, size = count - 1, size - run.log.bytes
                yield key
