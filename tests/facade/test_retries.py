"""How much the facade's own repetitions add to what reaches a service that refuses everything."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any, cast

import pytest

from facade.adapters.context_client import ContextClient
from facade.adapters.curation_client import CurationClient
from facade.adapters.inference_client import InferenceClient
from facade.adapters.tools_client import ToolsClient
from facade.domain.asking import Asking
from facade.domain.call import Patience, run_calls
from facade.domain.call_log import CallLog, ResultShape
from facade.domain.continuation import Continuations, continued
from facade.domain.events import RunEvent, RunFinished, RunState
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.parameters import ServerTools, TurnParameters
from facade.domain.progress import Progress
from facade.domain.records import Batch, CallRecord, CallState
from facade.domain.retries import Retries
from facade.domain.tokens import TokenCount
from facade.edge.metrics import FacadeMetrics
from tests.facade.test_journal import RUN, STARTED
from tests.facade.test_outages_of_tools import NOBODY, Kept
from tests.servers.refusing import Refusing, refusing_server
from threadmesh.clock import SystemClock
from threadmesh.conversation import ToolCall
from threadmesh.errors import Unavailable
from threadmesh.retry_budget import RetryLimits
from threadmesh.rpc.channel import MeshChannel, connect
from threadmesh.telemetry.metrics import new_registry

Operation = Callable[[Mesh], Awaitable[object]]

CALL = CallRecord(call=ToolCall(id="c", name="t", arguments_json="{}"), ordinal=0, state=CallState.INTENT)
EVENT = RunEvent(sequence=0, body=STARTED)
FINISHED = RunFinished(state=RunState.SUCCEEDED)
SINGLE: dict[str, Operation] = {
    "GetRun": lambda mesh: mesh.context.run("r"),
    "ListRuns": lambda mesh: mesh.context.runs(None, after="", limit=1),
    "CountTokens": lambda mesh: mesh.inference.count(["text"], model=""),
}
"""What gRPC itself tries again."""


async def append(mesh: Mesh) -> None:
    async with mesh.context.writer() as writer:
        await writer.append(batch())


async def finish(mesh: Mesh) -> None:
    async with mesh.context.writer() as writer:
        await writer.finish(batch(), FINISHED)


def batch() -> Batch:
    return Batch(run_id="r", epoch=1, first_sequence=0, events=[EVENT], items=(), calls=())


async def watch(mesh: Mesh) -> None:
    async with aclosing(mesh.context.watch("r")) as log:
        await anext(log)


async def go_on(mesh: Mesh) -> None:
    wanted = Continuations(prompts=["Once"], parameters=TurnParameters())
    async with aclosing(continued(wanted, mesh, at_once=1, patience_seconds=2.0)) as events:
        await anext(events)


def asking(mesh: Mesh) -> Asking:
    return Asking(mesh, RUN, Limits(), TurnParameters(server_tools=ServerTools(everything=True)), Progress())


async def call(mesh: Mesh) -> None:
    log = CallLog(
        [CALL],
        Journal(cast(Any, Kept()), RUN),
        in_round=0,
        shape=ResultShape(characters=100, count=TokenCount(cast(Any, Uncounted()), "")),
        attempts={},
    )
    patience = Patience(first_seconds=4.0, return_seconds=4.0, budget=mesh.retries.calls)
    await run_calls(log, mesh.tools, RUN, patience=patience, resumed=False, reply=NOBODY)
    assert log.open == []


class Uncounted:
    async def count(self, texts: list[str], *, model: str) -> list[int]:
        return [1 for _ in texts]


REPEATED: dict[str, Operation] = {
    "ListModels": lambda mesh: asking(mesh).model(),
    "Generate": go_on,
    "ListTools": lambda mesh: asking(mesh).catalogue(),
    "ExecuteTools": call,
    "AppendToRuns": append,
    "RenewRun": lambda mesh: mesh.context.renew(RUN),
    "WatchRun": watch,
    "AssembleWindow": lambda mesh: mesh.context.window(RUN, token_budget=100),
}
"""What the facade tries again, each with the patience of a request that begins or of a run's lease."""


@pytest.fixture
async def refusing() -> AsyncIterator[Refusing]:
    async with refusing_server() as server:
        yield server


@pytest.fixture
async def mesh(refusing: Refusing) -> AsyncIterator[Mesh]:
    retries = Retries.by(SystemClock())
    async with AsyncExitStack() as stack:
        inference, tools, context = [
            await stack.enter_async_context(connect(f"127.0.0.1:{refusing.port}")) for _ in range(3)
        ]
        yield Mesh(
            inference=InferenceClient(inference),
            tools=ToolsClient(tools),
            context=ContextClient(context, owner="test", claim_seconds=10, retries=retries, patience=4),
            retries=retries,
        )


async def asked(mesh: Mesh, operations: Sequence[Operation], *, times: int) -> float:
    """Ask everything so many times within half a second, which comes to nothing; gives the seconds that this took."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def ask(operation: Operation, number: int) -> None:
        await asyncio.sleep(number / times / 2)  # a server of gRPC takes no more than a thousand calls at one moment
        with suppress(Unavailable):
            await operation(mesh)

    await asyncio.gather(*(ask(each, number) for each in operations for number in range(times)))
    return loop.time() - began


async def test_a_service_that_refuses_everything_is_asked_at_most_a_fifth_more_than_it_need_be(
    mesh: Mesh, refusing: Refusing
) -> None:
    await asked(mesh, [REPEATED["RenewRun"]], times=400)

    assert 400 <= refusing.asked["RenewRun"] <= 1.2 * 400


async def test_whatever_is_asked_for_is_repeated_within_a_budget_of_its_own(mesh: Mesh, refusing: Refusing) -> None:
    """Twenty failures, and then a tenth or two in a second. Writes of several runs travel in one message."""
    seconds = await asked(mesh, [*REPEATED.values(), *SINGLE.values()], times=40)

    assert set(refusing.asked) == {*REPEATED, *SINGLE}
    least = {method: 1 if method == "AppendToRuns" else 40 for method in refusing.asked}
    most = 40 + 20 + max(4, 2 * seconds) + 1
    assert {method: count for method, count in refusing.asked.items() if not least[method] <= count <= most} == {}


async def test_a_renewal_waits_behind_no_other_write(mesh: Mesh, refusing: Refusing) -> None:
    """A run that writes nothing for a while must not be lost for those that do."""
    writing = asyncio.ensure_future(asked(mesh, [finish], times=100))
    async with asyncio.timeout(10):
        while mesh.retries.writes.waiting < 50:
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await mesh.context.renew(RUN)
    await writing

    assert refusing.asked["RenewRun"] >= 5


@pytest.mark.parametrize("method", ["ListModels", "ListTools", "AssembleWindow"])
async def test_grpc_repeats_no_read_that_the_facade_repeats(refusing: Refusing, method: str) -> None:
    ask: dict[str, Callable[[MeshChannel], Awaitable[object]]] = {
        "ListModels": lambda channel: InferenceClient(channel).models(),
        "ListTools": lambda channel: ToolsClient(channel).offer(),
        "AssembleWindow": lambda channel: CurationClient(channel).window("t", token_budget=1, tenant=""),
    }
    async with connect(f"127.0.0.1:{refusing.port}") as channel:
        with pytest.raises(Unavailable):
            await ask[method](channel)

    assert refusing.asked == {method: 1}


async def test_an_operator_sees_how_many_wait_for_what() -> None:
    registry, retries = new_registry(), Retries.by(SystemClock())
    FacadeMetrics(registry).watch_retries(retries)
    for _ in range(2 * RetryLimits().failures):
        retries.writes.failed()
    await retries.writes.leave(until=0)
    waiting = asyncio.create_task(retries.writes.leave(until=math.inf))
    await asyncio.sleep(0)
    seen = {
        what: registry.get_sample_value("threadmesh_facade_retries_waiting", {"what": what})
        for what in retries.by_name()
    }
    waiting.cancel()

    assert seen == {"writes": 1} | dict.fromkeys(retries.by_name().keys() - {"writes"}, 0)
