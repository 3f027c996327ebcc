"""What the model of one run reads of the thread, from round to round."""

from collections.abc import Sequence

from facade.domain.events import Run
from facade.domain.ports import Context
from facade.domain.records import NewItem, Window
from threadmesh.errors import MeshError


class Reading:
    """Gives the windows of a run. The thread is not asked again for what the run itself has said since.

    A run's own input is all in them; once the model has found that too long, older parts are left out if the run
    `shortens_input`. Each round finds out anew, so that whoever takes the run over reads the same.
    """

    def __init__(self, context: Context, run: Run, *, shortens_input: bool) -> None:
        self._context, self._run, self._may_shorten = context, run, shortens_input
        self._shortens = False
        self._budget = 0
        self._window: Window | None = None
        self._said = 0

    async def window(self, budget: int, *, said: Sequence[NewItem]) -> Window:
        """Give as much as fits; `said` is all that the run has added to the thread between its rounds."""
        window = None
        if self._window is not None and self._budget == budget:
            window = self._window.extended(said[self._said :], budget=budget)
        if window is None:
            self._shortens = False
            window = await self._ask(budget)
        self._budget, self._window, self._said = budget, window, len(said)
        return window

    async def shorter(self, budget: int, window: Window, error: MeshError) -> tuple[int, Window]:
        """Leave more of the thread out: stored token counts are estimates. Raises `error` when nothing more can go."""
        self._window = None
        least = window.least_tokens
        while budget > least or (self._may_shorten and not self._shortens):
            if budget > least:
                budget = max(budget * 2 // 3, least)
            else:
                self._shortens = True
            shorter = await self._ask(budget)
            if shorter.tokens < window.tokens:
                return budget, shorter
            least = shorter.least_tokens
        raise error

    async def _ask(self, budget: int) -> Window:
        return await self._context.window(self._run, token_budget=budget, shorten_input=self._shortens)
