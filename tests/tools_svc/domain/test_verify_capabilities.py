"""What came of a call of a capability is asked of the server whose tool it went to."""

import asyncio

import pytest

from tests.tools_svc.domain.given import Run, batch, house
from tests.tools_svc.domain.test_execute import DONE, Tool
from tests.tools_svc.domain.test_verify import AGAIN, VERIFY, Finder
from threadmesh.conversation import CallFinished, CallOutcome
from threadmesh.errors import ToolConnectionLost
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.memory_source import MemorySource, MemoryTool, Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.capability import Alternative, Capability
from tools_svc.domain.catalog import Catalogue, shelve
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.reconcile import Doubt, Reconciler
from tools_svc.domain.tool import Effect, OfferedTool
from tools_svc.domain.verify import Verify

DO = Capability(
    name="do",
    description="Do it.",
    parameters_json='{"type":"object"}',
    alternatives=(Alternative(tool="s__t", fixed={"number": 7}),),
)
NUMBERED = Verify(tool="find", arguments={"number": {"$from": "/arguments/number"}}, done="/found", after_seconds=0)


async def finished(run: Run, finder: Finder, verify: Verify | None = VERIFY) -> CallFinished:
    async with house(run, verify=verify, finder=finder, capability=DO, timeout_seconds=1) as home:
        return await home.finished(batch("c", run_id="r", tool="any__do"))


async def test_a_call_that_was_done_has_succeeded() -> None:
    tool, finder = Tool(ToolConnectionLost()), Finder({"found": True})
    ended = await finished(tool, finder, NUMBERED)

    assert (ended.outcome, len(tool.invocations)) == (CallOutcome.SUCCEEDED, 1)
    assert [question.arguments for question in finder.questions] == [{"number": 7}]


async def test_one_that_was_not_done_has_failed() -> None:
    tool = Tool(ToolConnectionLost())
    ended = await finished(tool, Finder({"found": False}))

    assert (ended.outcome, len(tool.invocations)) == (CallOutcome.FAILED, 1)
    assert ended.failure is not None
    assert ended.failure.reason == "TOOL_CALL_NOT_DONE"


async def test_one_that_was_not_done_is_sent_once_more_where_the_operator_says_so() -> None:
    tool = Tool(ToolConnectionLost())
    ended = await finished(tool, Finder({"found": False}), AGAIN)

    assert (ended.outcome, ended.parts, len(tool.invocations)) == (CallOutcome.SUCCEEDED, DONE.parts, 2)


async def test_one_that_takes_too_long_leaves_time_for_the_question() -> None:
    async def endless(invocation: Invocation, report: Report) -> ToolOutput:
        await asyncio.Event().wait()
        raise AssertionError

    assert (await finished(endless, Finder({"found": True}))).outcome is CallOutcome.SUCCEEDED


@pytest.mark.parametrize("verify", [None, VERIFY])
async def test_where_nobody_can_tell_it_stays_unknown(verify: Verify | None) -> None:
    ended = await finished(Tool(ToolConnectionLost()), Finder({"other": True}), verify)

    assert ended.outcome is CallOutcome.UNKNOWN


ASKED = Invocation(tool="t", arguments={}, timeout_seconds=1, call_id="c")


@pytest.mark.parametrize(
    ("answers", "ways", "done"),
    [
        ([False, False], [VERIFY, VERIFY], False),
        ([False, True], [VERIFY, VERIFY], True),
        ([False, {}], [VERIFY, VERIFY], None),
        ([False], [None, VERIFY], None),
        ([True], [None, VERIFY], True),
    ],
)
async def test_what_went_to_several_was_not_done_only_if_that_is_said_of_each(
    answers: list[object], ways: list[Verify | None], done: bool | None
) -> None:
    offer = OfferedTool(name="find", parameters_json='{"type":"object"}')
    finder = Finder(*({"found": each} if isinstance(each, bool) else each for each in answers))
    source = MemorySource("s", {"find": MemoryTool(offer=offer, run=finder)})
    policy = ServerPolicy(timeout_seconds=9, effects={"find": Effect.READ_ONLY})
    shelf = shelve("s", source.status, policy, JsonSchemaCompiler())
    asking = Reconciler({"s": source}, catalogue=lambda: Catalogue(shelves={"s": shelf}), pause=lambda _: 0)

    verdict = await asking.verdict(Doubt(server="s", call=ASKED, verify=way) for way in ways)

    assert (verdict.done if verdict else None) is done
