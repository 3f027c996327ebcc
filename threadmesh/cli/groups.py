"""The commands `threadmesh tools ...` and `threadmesh threads ...`; like those of `app`, they import by need."""

import asyncio
from typing import Annotated

import typer

from threadmesh.cli import options

tools = typer.Typer(help="List the tools of the mesh and call one.", no_args_is_help=True)
threads = typer.Typer(help="Look into conversations.", no_args_is_help=True)


@tools.command("list")
def tools_list(*, json: options.Json = False, target: options.Target = "", data_dir: options.DataDir = None) -> None:
    """List the tools of the mesh.

    Examples:
      threadmesh tools list
      threadmesh tools list --json | jq -r '.tools[].name'
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.tools import show_tools  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_tools(located.addresses["tools"], as_json=json))


@tools.command("call")
def tools_call(
    name: Annotated[str, typer.Argument(help="The tool, as `tools list` names it.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[JSON | KEY=VALUE ...]", help="Its arguments; KEY:=JSON for JSON.")
    ] = None,
    *,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds the call may take.")] = None,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Call a tool, show its progress, and write its result.

    Ends with 1 when the call failed.

    Examples:
      threadmesh tools call time__get_current_time timezone=Asia/Tokyo
      threadmesh tools call git__git_log '{"repo_path": "/srv/code", "max_count": 3}'
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.tools import call_tool  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(call_tool(located.addresses["tools"], name, arguments or [], seconds=timeout))


@threads.command("list")
def threads_list(
    *,
    prefix: Annotated[str, typer.Option("--prefix", help="Only threads whose key begins so.")] = "",
    json: options.Json = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """List the threads, the latest used first.

    Examples:
      threadmesh threads list
      threadmesh threads list --prefix discord:
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.threads import show_threads  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_threads(located.addresses["context"], prefix=prefix, as_json=json))


@threads.command("show")
def threads_show(
    thread: Annotated[str, typer.Argument(metavar="ID|KEY", help="The thread.")],
    *,
    json: options.Json = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Show what was said in a thread, with tool calls and their results.

    Examples:
      threadmesh threads show me:notes
      threadmesh threads show me:notes --json
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.threads import show_thread  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_thread(located.addresses["context"], thread, as_json=json))
