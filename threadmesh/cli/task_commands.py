"""The commands `threadmesh tasks ...`; like those of `app`, they import by need."""

import asyncio
from typing import Annotated

import typer

from threadmesh.cli import options

tasks = typer.Typer(help="Look at the calls of long tools, and stop one.", no_args_is_help=True)


@tasks.command("list")
def tasks_list(
    *,
    state: Annotated[
        list[options.TaskState] | None,
        typer.Option("--state", "-s", help="Only tasks in this state; may be given again.", show_default="all"),
    ] = None,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Only tasks of this run.")] = "",
    json: options.Json = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """List the calls of long tools, the newest first. Ended ones are kept for a day.

    Examples:
      threadmesh tasks list
      threadmesh tasks list --state queued --state claimed --json
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.tasks import show_tasks  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_tasks(located.addresses["tools"], states=state or (), run_id=run, as_json=json))


@tasks.command("cancel")
def tasks_cancel(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, as `tasks list` names it.")],
    call: Annotated[str, typer.Argument(metavar="CALL", help="The call.")],
    *,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Stop a call of a long tool: one that waits is never sent, one under way is stopped as well as its tool allows.

    Examples:
      threadmesh tasks cancel task-5f0e6c1b call_1
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.tasks import cancel_task  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    stopped = asyncio.run(cancel_task(located.addresses["tools"], run, call))
    typer.echo(f"{call} is being stopped." if stopped else f"{call} had ended before.")
