"""The commands `threadmesh calls ...`; like those of `app`, they import by need."""

import asyncio
import sys
from enum import StrEnum
from typing import Annotated

import typer

from threadmesh.cli import options

calls = typer.Typer(
    help="Approve tool calls, answer their servers, and settle those of which nobody knows.", no_args_is_help=True
)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run, as `calls list` names it.")]
CallId = Annotated[str, typer.Argument(metavar="CALL", help="The call, as `calls list` names it.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; the model reads it.")]


class Finding(StrEnum):
    """How a call ended, as a person found out."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@calls.command("list")
def calls_list(
    *,
    waiting: Annotated[bool, typer.Option("--waiting", "-w", help="Only those that wait for somebody.")] = False,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Every call of this run.")] = "",
    json: options.Json = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """List the tool calls that a person can say something about.

    They wait for approval, their server asks something, or nobody knows whether they took effect; the latter are looked
    for in the newest 200 runs.

    Examples:
      threadmesh calls list --waiting
      threadmesh calls list --run run_01 --json
    """
    from threadmesh.cli.call_decisions import show_calls  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    address = locate(data_dir=data_dir, target=target).addresses["context"]
    asyncio.run(show_calls(address, run_id=run, waiting=waiting, as_json=json))


@calls.command("approve")
def calls_approve(
    run: RunId,
    call: CallId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Show a tool call that waits, and let it be sent if you agree.

    Examples:
      threadmesh calls approve run_01 call_01
      threadmesh calls approve run_01 call_01 --yes
    """
    from threadmesh.cli.call_decisions import decide, find_call, show_call  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("say --yes where nobody can be asked", param_hint="--yes")
    address = locate(data_dir=data_dir, target=target).addresses["context"]
    found = asyncio.run(find_call(address, run, call))
    show_call(found)
    if not yes:
        typer.confirm("Send this call?", abort=True)
    asyncio.run(decide(address, run, call, "approved", seen=found))
    typer.echo(f"Approved {call}.")


@calls.command("deny")
def calls_deny(
    run: RunId,
    call: CallId,
    *,
    reason: Reason = "",
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Refuse a tool call that waits; it is not sent, and the model goes on without its result.

    Examples:
      threadmesh calls deny run_01 call_01 --reason "Ask for the room first."
    """
    from threadmesh.cli.call_decisions import decide  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    address = locate(data_dir=data_dir, target=target).addresses["context"]
    asyncio.run(decide(address, run, call, "denied", reason=reason))
    typer.echo(f"Denied {call}.")


@calls.command("resolve")
def calls_resolve(
    run: RunId,
    call: CallId,
    finding: Annotated[Finding, typer.Argument(help="Whether it took effect.")],
    *,
    result: Annotated[str, typer.Option("--result", help="Its result, for the model.")] = "",
    reason: Reason = "",
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Say how a tool call ended whose outcome is unknown; the thread tells the model so from then on.

    Examples:
      threadmesh calls resolve run_01 call_01 succeeded --result "Issue 17 was created."
      threadmesh calls resolve run_01 call_01 failed --reason "There is no such issue."
    """
    from threadmesh.cli.call_decisions import decide  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    if result and finding is Finding.FAILED:
        raise typer.BadParameter("only a call that succeeded has a result", param_hint="--result")
    address = locate(data_dir=data_dir, target=target).addresses["context"]
    asyncio.run(decide(address, run, call, finding.value, reason=reason, result=result))
    typer.echo(f"Noted that {call} {finding.value}.")


@calls.command("answer")
def calls_answer(
    run: RunId,
    call: CallId,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="What is filled in; without, you are asked.")
    ] = None,
    *,
    decline: Annotated[bool, typer.Option("--decline", help="Do not answer, and say so.")] = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Show what the server of a tool call asks, and answer it; the call goes on with that.

    Several questions are answered together, with one JSON object of what is filled in by the questions' ids.

    Examples:
      threadmesh calls answer run_01 call_01
      threadmesh calls answer run_01 call_01 seats=4 room=blue
      threadmesh calls answer run_01 call_01 --decline
    """
    from threadmesh.api.conversation.v1 import questions_pb2  # loaded by need
    from threadmesh.cli.call_answers import (  # loaded by need
        answers_of,
        asked_answers,
        open_questions,
        refusals,
        send_answers,
        show_questions,
    )
    from threadmesh.cli.call_decisions import find_call  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.output import stdout  # loaded by need

    if not words and not decline and not sys.stdin.isatty():
        raise typer.BadParameter("say what is filled in, or --decline, where nobody can be asked")
    address = locate(data_dir=data_dir, target=target).addresses["context"]
    found = asyncio.run(find_call(address, run, call))
    questions = open_questions(found)
    show_questions(found.input_required, questions, stdout())
    if decline:
        answers = refusals(questions, questions_pb2.ANSWER_ACTION_DECLINE)
    else:
        answers = answers_of(questions, words) if words else asked_answers(questions)
    asyncio.run(send_answers(address, run, call, answers, in_round=found.input_required.round))
    typer.echo(f"{'Declined' if decline else 'Answered'} {call}.")
