"""What the server of one call asks while the call is under way, in rounds that somebody else answers."""

import asyncio
from collections.abc import Callable

from threadmesh.errors import Cancelled, ToolInputRequired
from threadmesh.questions import MOST_ROUNDS, Answer, InputRequired
from tools_svc.domain.call import Asked, Continuation

_FORSAKEN = "Nobody answers what the tool asks any more; it was stopped."


class Inquiry:
    """The questions of one call; `round` is that of the last ones, 0 before the first.

    `tell` hears of each round, which is answered within so many `seconds`. Meanwhile the call's own time stands still.
    """

    def __init__(self, tell: Callable[[InputRequired], None], *, tool: str, seconds: float, before: int = 0) -> None:
        """Of the call of the `tool`, `before` rounds were answered before it came here."""
        self.round = before
        self.closed = False
        """Whether nobody answers any more."""
        self.waited = 0.0
        """The seconds for which the call's time stood still."""
        self._tell = tell
        self._tool = tool
        self._seconds = seconds
        self._answers: asyncio.Future[tuple[Answer, ...]] | None = None

    @property
    def waiting(self) -> bool:
        """Whether a round waits for its answers."""
        return self._answers is not None and not self._answers.done()

    def answer(self, continuation: Continuation) -> bool:
        """Take the answers to the present round; False, and nothing changes, if they are to another one or repeated."""
        if self._answers is None or self._answers.done() or continuation.round != self.round:
            return False
        self._answers.set_result(continuation.answers)
        return True

    def close(self) -> None:
        """Have nobody answer any more, neither what is asked now nor what may be asked later."""
        self.closed = True
        if self._answers is not None and not self._answers.done():
            self._answers.set_exception(Cancelled(_FORSAKEN))

    async def ask(self, asked: Asked, *, server: str, limit: asyncio.Timeout) -> tuple[Answer, ...]:
        """Give the answers to a round of questions, for which `limit` stands still.

        Raises `ToolInputRequired` for one round too many, and when nobody answers in time; `Cancelled` once closed.
        """
        self._require_open()
        if self.round >= MOST_ROUNDS:
            raise ToolInputRequired(f"The tool has asked {MOST_ROUNDS} times and asks again; it was not finished.")
        self.round += 1
        loop = asyncio.get_running_loop()
        self._answers = loop.create_future()
        began, ends = loop.time(), limit.when()
        limit.reschedule(None)
        self._tell(self._round(asked, server))
        try:
            async with asyncio.timeout(self._seconds):
                answers = await self._answers
        except TimeoutError as error:
            raise ToolInputRequired("Nobody answered what the tool asked; it was not finished.") from error
        self._require_open()  # whoever stopped the call meanwhile has set a limit that is not to be moved
        stood = loop.time() - began
        self.waited += stood
        limit.reschedule(None if ends is None else ends + stood)
        return answers

    def _require_open(self) -> None:
        if self.closed:
            raise Cancelled(_FORSAKEN)

    def _round(self, asked: Asked, server: str) -> InputRequired:
        return InputRequired(
            name=self._tool,
            server=server,
            questions=asked.questions,
            round=self.round,
            request_state=asked.request_state,
            held=asked.reply is not None,
        )
