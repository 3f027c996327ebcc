"""Windows that came with the start of their runs, until these ask for them."""

from facade.domain.records import Window

_KEPT = 256


class ForeseenWindows:
    """The windows of runs that have just begun, by the run and its token budget.

    Nobody else writes to a thread between the start of a run that is claimed with it and the run's first question, so
    the window is still what the thread says.
    """

    def __init__(self) -> None:
        self._windows: dict[str, tuple[int, Window]] = {}

    def add(self, run_id: str, token_budget: int, window: Window) -> None:
        """Keep a window; the oldest that nobody came for goes."""
        self._windows[run_id] = token_budget, window
        if len(self._windows) > _KEPT:
            del self._windows[next(iter(self._windows))]

    def take(self, run_id: str, token_budget: int) -> Window | None:
        """Give a run's window of this budget once, if there is one."""
        budget, window = self._windows.pop(run_id, (0, None))
        return window if budget == token_budget else None
