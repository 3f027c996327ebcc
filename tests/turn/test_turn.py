"""What a turn does, seen by a client and in the thread, over the real units."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError

from tests.turn.mesh import OTHER_KEY, Mesh, until
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.conversation.v1.conversation_pb2 import ROLE_ASSISTANT, ROLE_USER, Message, Part, ToolCall
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(mesh: Mesh, text: str, **request: Any) -> Any:
    """Ask one question, with the mesh's tools at hand unless the request says otherwise."""
    metadata = {"tools": "all", **request.pop("metadata", {})}
    return await mesh.openai.chat.completions.create(
        model=request.pop("model", "scripted"),
        messages=[{"role": "user", "content": text}],
        metadata=metadata,
        **request,
    )


async def items(mesh: Mesh, key: str) -> list[Any]:
    thread = await mesh.threads.ResolveThread(threads.ResolveThreadRequest(key=key))
    return list((await mesh.threads.ListItems(threads.ListItemsRequest(thread_id=thread.thread.id))).items)


async def thread_runs(mesh: Mesh, key: str) -> list[Any]:
    thread = await mesh.threads.ResolveThread(threads.ResolveThreadRequest(key=key))
    return list((await mesh.runs.ListRuns(runs.ListRunsRequest(thread_id=thread.thread.id))).runs)


def texts(item: Any) -> str:
    return "".join(part.text for part in item.message.parts)


async def told(stream: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Read a stream; gives the events of the mesh's tools, and all chunks."""
    chunks = [chunk async for chunk in stream]
    return [chunk.model_extra["threadmesh"] for chunk in chunks if "threadmesh" in (chunk.model_extra or {})], chunks


async def test_calls_of_one_answer_run_in_parallel(mesh: Mesh) -> None:
    # Each of the two calls returns only when the other is in flight.
    answer = await ask(mesh, "meet")

    assert answer.choices[0].message.content == "The tool said: met"


async def test_results_stand_in_the_thread_in_the_order_of_the_calls(mesh: Mesh) -> None:
    await ask(mesh, "meet", metadata={"thread_key": "ordered"})

    asked, calls, first, second, answer = await items(mesh, "ordered")

    assert texts(asked) == "meet"
    assert [call.id for call in calls.message.tool_calls] == [first.message.tool_call_id, second.message.tool_call_id]
    assert first.provenance == threads.PROVENANCE_TOOL
    assert texts(answer) == "The tool said: met"


async def test_a_call_that_ends_first_stands_where_it_was_asked_for(mesh: Mesh) -> None:
    stream = await ask(mesh, "gate before fail", stream=True, metadata={"thread_key": "late", "events": "1"})
    ended: list[str] = []
    async for chunk in stream:
        event = (chunk.model_extra or {}).get("threadmesh", {})
        if event.get("event") == "tool.finished":
            ended.append(event["name"])
            if ended == ["workshop__fail"]:
                await open_gate(mesh, "ordered")

    _, _, first, second, _ = await items(mesh, "late")
    assert ended == ["workshop__fail", "workshop__gate"]
    assert (texts(first), "no luck" in texts(second)) == ("passed", True)


async def open_gate(mesh: Mesh, name: str) -> None:
    arguments = json.dumps({"name": name})
    call = ToolCall(id="opens", name="workshop__open_gate", arguments_json=arguments)
    async for _ in ToolsServiceStub(mesh.tools).ExecuteTools(tools.ExecuteToolsRequest(calls=[call])):
        pass


async def test_progress_streams_before_the_result(mesh: Mesh) -> None:
    events_told, chunks = await told(await ask(mesh, "progress", stream=True, metadata={"events": "1"}))

    # A slow reader is told the latest progress only, so how many there are is not promised.
    first, *between, last = [each["event"] for each in events_told]
    assert (first, set(between), last) == ("tool.started", {"tool.progress"}, "tool.finished")
    assert events_told[-1]["output"] == "done"
    assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_tool_that_fails_tells_the_model_why(mesh: Mesh) -> None:
    answer = await ask(mesh, "fail")

    assert "no luck" in answer.choices[0].message.content


async def test_wrong_arguments_are_answered_by_the_mesh_and_never_sent(mesh: Mesh) -> None:
    events_told, _ = await told(await ask(mesh, "wrong", stream=True, metadata={"events": "1"}))

    assert [each["event"] for each in events_told] == ["tool.finished"]
    assert events_told[0]["outcome"] == "failed"


async def test_a_call_whose_server_died_has_an_unknown_outcome_and_is_not_repeated(mesh: Mesh, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    answer = await ask(mesh, f"die {ledger}", metadata={"thread_key": "died"})
    await mesh.tools_are_ready()

    assert "outcome of this call is unknown" in answer.choices[0].message.content
    assert ledger.read_text() == "died\n"
    (run,) = await thread_runs(mesh, "died")
    (call,) = (await mesh.runs.ListCalls(runs.ListCallsRequest(run_id=run.id))).calls
    assert call.finished.outcome == events.CALL_OUTCOME_UNKNOWN


async def test_a_tool_that_the_model_made_up_fails_and_is_not_the_clients_to_run(mesh: Mesh) -> None:
    answer = await ask(mesh, "make up", metadata={"tools": "workshop__work"})

    assert answer.choices[0].finish_reason == "stop"
    assert "no such tool" in answer.choices[0].message.content


async def test_a_tool_of_the_mesh_that_the_request_does_not_want_is_not_called(mesh: Mesh) -> None:
    # The script stands for a model that was talked into it: it calls a tool of which it was not told.
    stream = await ask(mesh, "progress", stream=True, metadata={"tools": "workshop__fail", "events": "1"})
    events_told, _ = await told(stream)

    assert [each["event"] for each in events_told] == ["tool.finished"]
    assert events_told[0]["outcome"] == "failed"
    assert "no such tool" in events_told[0]["error"]


async def test_a_call_cut_off_by_the_token_limit_is_not_run(mesh: Mesh) -> None:
    answer = await ask(mesh, "progress", max_tokens=2, metadata={"thread_key": "cut"})

    assert answer.choices[0].finish_reason == "length"
    assert [texts(item) for item in await items(mesh, "cut")] == ["progress"]


async def test_an_answer_without_a_limit_of_its_own_ends_at_the_meshs(mesh: Mesh) -> None:
    # The scripted backend echoes; the mesh of these tests allows 60 tokens.
    answer = await ask(mesh, "word " * 90)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 60


async def test_rounds_of_tools_are_limited(mesh: Mesh) -> None:
    events_told, chunks = await told(await ask(mesh, "again and again", stream=True, metadata={"events": "1"}))

    assert [each["event"] for each in events_told].count("tool.finished") == 3
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_clients_own_calls_are_given_to_it_after_the_meshs_were_run(mesh: Mesh) -> None:
    mine = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    answer = await ask(mesh, "both", tools=[mine])

    assert answer.choices[0].finish_reason == "tool_calls"
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["mine"]


async def test_requests_for_one_thread_are_answered_one_after_the_other(mesh: Mesh) -> None:
    await asyncio.gather(*(ask(mesh, f"question {number}", metadata={"thread_key": "busy"}) for number in range(6)))

    said = await items(mesh, "busy")

    assert [item.message.role for item in said] == [3, 4] * 6
    assert all(question.run_id == answer.run_id for question, answer in zip(said[::2], said[1::2], strict=True))
    assert [item.sequence for item in said] == list(range(12))


async def test_a_thread_is_remembered_and_a_plain_request_is_not(mesh: Mesh) -> None:
    first = await ask(mesh, "one", metadata={"thread_key": "memory"})
    second = await ask(mesh, "two", metadata={"thread_key": "memory"})
    plain = await ask(mesh, "two")

    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    assert second.usage.prompt_tokens > plain.usage.prompt_tokens
    listed = await mesh.threads.ListThreads(threads.ListThreadsRequest())
    assert all(thread.key for thread in listed.threads)


async def test_a_thread_longer_than_the_context_loses_its_oldest_turns(mesh: Mesh) -> None:
    # What is appended claims to be short, so that only the model finds out how long the window is.
    thread = await mesh.threads.ResolveThread(threads.ResolveThreadRequest(key="long"))
    told_before = [
        threads.NewItem(message=Message(role=role, parts=[Part(text=f"{number} " + "word " * 40)]), tokens=1)
        for number in range(40)
        for role in (ROLE_USER, ROLE_ASSISTANT)
    ]
    await mesh.threads.AppendItems(threads.AppendItemsRequest(thread_id=thread.thread.id, items=told_before))

    answer = await ask(mesh, "still there?", metadata={"thread_key": "long"})

    assert answer.choices[0].message.content
    assert len(await items(mesh, "long")) == 82


async def test_a_turn_that_breaks_keeps_what_was_said(mesh: Mesh) -> None:
    with pytest.raises(Exception, match="No backend"):
        await ask(mesh, "break", metadata={"thread_key": "broken"})

    question, partial = await items(mesh, "broken")
    assert texts(question) == "break"
    assert partial.status == threads.ITEM_STATUS_INCOMPLETE
    assert texts(partial)


async def test_the_thread_of_a_broken_turn_can_be_continued(mesh: Mesh) -> None:
    with pytest.raises(Exception, match="No backend"):
        await ask(mesh, "break", metadata={"thread_key": "mended"})

    assert (await ask(mesh, "go on", metadata={"thread_key": "mended"})).choices[0].finish_reason == "stop"


async def test_a_stateless_request_stops_when_its_client_leaves_a_stream(mesh: Mesh) -> None:
    stream = await ask(mesh, "hang", stream=True)
    run_id = stream.response.headers["x-run-id"]
    await anext(aiter(stream))
    await asyncio.wait_for(stream.close(), 5)

    await until(lambda: _is(mesh, run_id, runs.RUN_STATE_CANCELLED), seconds=1.2)


async def test_a_stateless_request_stops_when_its_client_leaves_before_the_answer(mesh: Mesh) -> None:
    before = {run.id for run in (await mesh.runs.ListRuns(runs.ListRunsRequest())).runs}
    asking = asyncio.create_task(ask(mesh, "hang"))
    started: set[str] = set()

    async def has_started() -> bool:
        listed = await mesh.runs.ListRuns(runs.ListRunsRequest(states=[runs.RUN_STATE_RUNNING]))
        started.update({run.id for run in listed.runs} - before)
        return bool(started)

    await until(has_started)
    asking.cancel()

    (run_id,) = started
    await until(lambda: _is(mesh, run_id, runs.RUN_STATE_CANCELLED))


async def test_a_run_that_waits_for_its_thread_stops_when_its_client_leaves_before_the_stream(mesh: Mesh) -> None:
    first = await ask(mesh, "hang", stream=True, metadata={"thread_key": "taken", "on_disconnect": "cancel"})
    waiting = {"thread_key": "taken", "on_disconnect": "cancel"}
    asking = asyncio.create_task(ask(mesh, "words", stream=True, metadata=waiting))

    async def waits() -> bool:
        return runs.RUN_STATE_QUEUED in [run.state for run in await thread_runs(mesh, "taken")]

    async def stopped() -> bool:
        return runs.RUN_STATE_CANCELLED in [run.state for run in await thread_runs(mesh, "taken")]

    await until(waits)
    asking.cancel()
    await until(stopped, seconds=0.8)
    await first.close()


async def test_a_run_in_a_thread_goes_on_without_its_reader(mesh: Mesh) -> None:
    stream = await ask(mesh, "some words to say", stream=True, metadata={"thread_key": "unread"})
    run_id = stream.response.headers["x-run-id"]
    await stream.close()

    await until(lambda: _is(mesh, run_id, runs.RUN_STATE_SUCCEEDED))


async def test_a_cancelled_run_ends_its_stream_with_an_error(mesh: Mesh) -> None:
    stream = await ask(mesh, "hang", stream=True)
    await mesh.runs.CancelRun(runs.CancelRunRequest(run_id=stream.response.headers["x-run-id"]))

    with pytest.raises(Exception, match="stopped"):
        async for _ in stream:
            pass


async def test_one_idempotency_key_is_answered_once(mesh: Mesh) -> None:
    keyed = {"extra_headers": {"Idempotency-Key": "k1"}, "metadata": {"thread_key": "idempotent"}}
    answers = await asyncio.gather(*(ask(mesh, "once", **keyed) for _ in range(5)))

    assert len({answer.id for answer in answers}) == 1
    assert len(await items(mesh, "idempotent")) == 2


async def test_one_idempotency_key_does_not_serve_two_questions(mesh: Mesh) -> None:
    keyed = {"extra_headers": {"Idempotency-Key": "k2"}}
    await ask(mesh, "one question", **keyed)

    with pytest.raises(APIStatusError) as caught:
        await ask(mesh, "another question", **keyed)

    assert caught.value.status_code == 422


async def _is(mesh: Mesh, run_id: str, state: Any) -> bool:
    run = (await mesh.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run
    return bool(run.state == state)


async def test_thinking_is_streamed_apart_counted_and_kept(mesh: Mesh) -> None:
    wanted = {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True}
    _, chunks = await told(await ask(mesh, "think", metadata={"thread_key": "thoughtful"}, **wanted))
    deltas = [(chunk.choices[0].delta, chunk.choices[0].logprobs) for chunk in chunks if chunk.choices]
    thoughts = [getattr(delta, "reasoning_content", None) or "" for delta, _ in deltas]
    weighed = [each.token for _, logprobs in deltas if logprobs for each in logprobs.content or ()]
    answer = (await items(mesh, "thoughtful"))[-1]

    assert "".join(thoughts) == "They want something."
    assert "".join(delta.content or "" for delta, _ in deltas) == "".join(weighed) == "Here it is."
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 4
    assert [part.WhichOneof("content") for part in answer.message.parts] == ["reasoning", "text"]


async def test_thinking_stands_apart_in_a_whole_answer(mesh: Mesh) -> None:
    said = (await ask(mesh, "think")).choices[0].message

    assert (said.content, said.reasoning_content) == ("Here it is.", "They want something.")


async def test_what_was_computed_for_one_key_is_not_shared_with_another(mesh: Mesh) -> None:
    def cached(answer: Any) -> int:
        return int(answer.usage.prompt_tokens_details.cached_tokens)

    other = mesh.openai.with_options(api_key=OTHER_KEY)
    question: Any = [{"role": "user", "content": "The quick brown fox jumps over the lazy dog."}]
    first, again = [await mesh.openai.chat.completions.create(model="scripted", messages=question) for _ in range(2)]
    elsewhere = await other.chat.completions.create(model="scripted", messages=question)

    assert cached(again) > cached(first)
    assert cached(elsewhere) == 0


async def test_the_tokens_of_a_thread_are_counted_by_its_model(mesh: Mesh) -> None:
    await ask(mesh, "progress", metadata={"thread_key": "counted", "tools": "all"})
    listed = await mesh.threads.ListThreads(threads.ListThreadsRequest(key_prefix="counted"))
    page = await mesh.threads.ListItems(threads.ListItemsRequest(thread_id=listed.threads[0].id))
    said = [(each.message.parts[0].text if each.message.parts else "", each.tokens) for each in page.items]

    assert said[0] == ("progress", 1 + 4)
    assert said[2] == ("done", 0), "a short result is estimated where it is read"
    assert [tokens > 0 for _, tokens in said] == [True, True, False, True]
