"""What a server asks beside a call that is under way: revisions of MCP before 2026-07-28.

Such a question does not say which call it belongs to. So on a connection whose server may ask, whatever could bring
one goes alone, and what the server asks otherwise is refused: nobody ever sees a question of somebody else's call.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import mcp_types as types
from mcp.client.context import ClientRequestContext
from pydantic import BaseModel

from threadmesh.crash_points import crash_point
from threadmesh.errors import MeshError
from tools_svc.adapters.mcp_exchange import Exchange
from tools_svc.adapters.mcp_questions import NOTHING, Allowed, question, response

_SAMPLING = "sampling/createMessage"
_ELICITATION = "elicitation/create"


class BackChannel:
    """The questions of one connection, and the exchange they belong to."""

    def __init__(self, allowed: Allowed = NOTHING) -> None:
        self.allowed = allowed
        self._turn = asyncio.Lock()
        self._exchange: Exchange | None = None
        self._asked = 0

    @property
    def busy(self) -> bool:
        """Whether somebody has the turn."""
        return self._turn.locked()

    @asynccontextmanager
    async def alone(self, exchange: Exchange | None = None) -> AsyncIterator[None]:
        """Have the turn until the block ends; what the server asks meanwhile belongs to the exchange, if there is one.

        Whoever waits for it waits in order.
        """
        async with self._turn:
            self._exchange = exchange
            try:
                yield
            finally:
                self._exchange = None

    async def elicited(
        self,
        context: ClientRequestContext,  # noqa: ARG002  # the SDK passes it
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult | types.ErrorData:
        """Answer a question to a person."""
        answer = await self._answer(_ELICITATION, params)
        return answer if isinstance(answer, types.ErrorData) else types.ElicitResult.model_validate(answer)

    async def sampled(
        self,
        context: ClientRequestContext,  # noqa: ARG002  # the SDK passes it
        params: types.CreateMessageRequestParams,
    ) -> types.CreateMessageResult | types.ErrorData:
        """Answer a question to a model."""
        answer = await self._answer(_SAMPLING, params)
        return answer if isinstance(answer, types.ErrorData) else types.CreateMessageResult.model_validate(answer)

    async def _answer(self, method: str, params: BaseModel) -> dict[str, object] | types.ErrorData:
        if (exchange := self._exchange) is None:
            return _refusal("Nobody is there who could answer.")
        self._asked += 1
        request = {"method": method, "params": params.model_dump(by_alias=True, mode="json", exclude_none=True)}
        try:
            asked = question(f"question-{self._asked}", request, self.allowed)
            crash_point("tools.after_question")
            answers = await exchange.ask(asked)
            crash_point("tools.before_reply")
            return response(answers[0]) if answers else _refusal("The call is over.")
        except MeshError as error:
            return _refusal(error.message)


def _refusal(why: str) -> types.ErrorData:
    return types.ErrorData(code=types.INVALID_REQUEST, message=why)
