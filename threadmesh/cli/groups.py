"""The commands `threadmesh tools ...` and `threadmesh threads ...`; like those of `app`, they import by need."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from threadmesh.cli import library_commands, options, window_commands

tools = typer.Typer(help="List the tools of the mesh, call one, and approve changes.", no_args_is_help=True)
threads = typer.Typer(help="Look into conversations, move them and remove them.", no_args_is_help=True)


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

    At a terminal you are asked what the tool's server asks, where the servers file lets it. Ends with 1 when the call
    failed.

    Examples:
      threadmesh tools call time__get_current_time timezone=Asia/Tokyo
      threadmesh tools call git__git_log '{"repo_path": "/srv/code", "max_count": 3}'
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.tools import call_tool  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    interactive = sys.stdin.isatty()
    called = call_tool(located.addresses["tools"], name, arguments or [], seconds=timeout, interactive=interactive)
    asyncio.run(called)


@tools.command("approve")
def tools_approve(
    name: Annotated[str, typer.Argument(help="The tool that is held back, as `tools list` names it.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Show what has changed in the definition of a tool, or is suspicious, and offer the tool if you agree.

    docs/tools.md says why tools are held back.

    Examples:
      threadmesh tools approve files__read_file
      threadmesh tools approve files__read_file --yes
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.tool_approval import approve_tool, changed_tool, show_change  # loaded by need

    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("say --yes where nobody can be asked", param_hint="--yes")
    address = locate(data_dir=data_dir, target=target).addresses["tools"]
    held = asyncio.run(changed_tool(address, name))
    if held is None:
        typer.echo(f"{name} needs no approval.")
        return
    show_change(held)
    if not yes:
        typer.confirm(f"Offer {name} with this definition?", abort=True)
    asyncio.run(approve_tool(address, held))
    typer.echo(f"Approved {name}.")


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


@threads.command("export")
def threads_export(
    thread: Annotated[str, typer.Argument(metavar="[ID|KEY]", help="One thread; without it all.")] = "",
    *,
    prefix: Annotated[str, typer.Option("--prefix", help="Only threads whose key begins so.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="File to write.", show_default="stdout")
    ] = None,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Write threads with all their items as JSON lines, to keep them or to move them to another mesh or store.

    A file appears only when it is whole. docs/thread-files.md describes the format.

    Examples:
      threadmesh threads export --output threads.jsonl
      threadmesh threads export --prefix discord: | gzip > discord.jsonl.gz
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.thread_export import export_threads  # loaded by need

    if thread and prefix:
        raise typer.BadParameter("name one thread or a prefix, not both", param_hint="--prefix")
    located = locate(data_dir=data_dir, target=target)
    asyncio.run(export_threads(located.addresses["context"], name=thread, prefix=prefix, output=output))


@threads.command("import")
def threads_import(
    file: Annotated[Path, typer.Argument(allow_dash=True, dir_okay=False, help="A file of `export`; - is stdin.")],
    *,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Add the threads of a file, with their numbers and dates.

    What is there already is left as it is, so an import that stopped can be done again. A thread that has other items
    in the place of the file's is left alone; the command then ends with 1.

    Examples:
      threadmesh threads import threads.jsonl
      gunzip -c discord.jsonl.gz | threadmesh threads import -
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.thread_import import import_threads  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(import_threads(located.addresses["context"], None if str(file) == "-" else file))


@threads.command("prune")
def threads_prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would go.")] = False,
    json: options.Json = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Apply the retention rules (CONTEXT_RETENTION) now instead of when they are due.

    Examples:
      threadmesh threads prune --dry-run
      threadmesh threads prune
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.thread_removal import prune_threads  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(prune_threads(located.addresses["context"], dry_run=dry_run, as_json=json))


@threads.command("delete")
def threads_delete(
    thread: Annotated[str, typer.Argument(metavar="ID|KEY", help="The thread.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Forget a thread with everything that was said in it. It cannot be undone; `threads export` keeps a copy.

    Examples:
      threadmesh threads delete me:notes
      threadmesh threads delete me:notes --yes
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.output import one_line  # loaded by need
    from threadmesh.cli.thread_removal import delete_thread, thread_to_delete  # loaded by need

    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("say --yes where nobody can be asked", param_hint="--yes")
    address = locate(data_dir=data_dir, target=target).addresses["context"]
    found = asyncio.run(thread_to_delete(address, thread))
    name = one_line(found.key or found.id)
    if not yes:
        typer.confirm(f"Delete {name} with its {found.item_count} items?", abort=True)
    asyncio.run(delete_thread(address, found.id))
    typer.echo(f"Deleted {name}.")


window_commands.add_to(threads)
library_commands.add_to(tools)
