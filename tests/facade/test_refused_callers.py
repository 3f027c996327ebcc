"""Who asks again at once after an engine has refused him is refused without asking it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from facade.adapters.inference_client import InferenceClient
from facade.domain.metered import MeteredInference
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation, Inference
from facade.domain.refusals import Refusals
from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.contracts.test_facade_ports import unlimited
from tests.turn.mesh import SCRIPT, served
from threadmesh.conversation import Role, message
from threadmesh.errors import Overloaded
from threadmesh.rpc.channel import connect
from threadmesh.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def inference() -> AsyncIterator[InferenceClient]:
    """The scripted model, which has no place for whoever says that it is busy."""
    async with AsyncExitStack() as stack:
        port = await served(stack, inference_app, InferenceSettings(model="none", script=str(SCRIPT)))
        yield InferenceClient(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))


@pytest.fixture
async def refusals(inference: InferenceClient, clock: FakeClock) -> Refusals:
    """Remembers that ann has just been refused."""
    refusals = Refusals(clock)
    asked = Generation(
        messages=[message(Role.USER, "busy")],
        tools=[],
        tool_choice=None,
        parameters=TurnParameters(model="scripted", caller="ann"),
    )
    with pytest.raises(Overloaded):
        async for _ in MeteredInference(inference, unlimited(), refusals).generate(asked):
            pass
    return refusals


async def is_refused(refusals: Refusals, caller: str, models: Inference, *, model: str = "scripted") -> bool:
    try:
        await refusals.check(caller, model=model, models=models)
    except Overloaded:
        return True
    return False


@pytest.mark.parametrize("model", ["scripted", ""])
async def test_one_who_was_refused_is_refused_again_by_whatever_name_the_model_has(
    refusals: Refusals, inference: InferenceClient, model: str
) -> None:
    assert await is_refused(refusals, "ann", inference, model=model)


async def test_others_and_other_models_are_not_refused(refusals: Refusals, inference: InferenceClient) -> None:
    assert not await is_refused(refusals, "bob", inference)
    assert not await is_refused(refusals, "ann", inference, model="another")


async def test_models_that_cannot_be_listed_now_are_the_runs_affair(refusals: Refusals) -> None:
    async with connect("127.0.0.1:1") as channel:
        assert not await is_refused(refusals, "ann", InferenceClient(channel))


async def test_one_who_waits_as_he_is_told_is_asked_for(
    refusals: Refusals, inference: InferenceClient, clock: FakeClock
) -> None:
    assert Overloaded.retry_after is not None
    clock.advance(Overloaded.retry_after)

    assert not await is_refused(refusals, "ann", inference)
