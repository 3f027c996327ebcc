"""The commands of `threadmesh`: what they take, and which module does the work.

Each command imports that module when it runs, so that `--help` need not wait for gRPC.
"""

import asyncio
import sys
from typing import Annotated

import typer

from threadmesh.cli import options
from threadmesh.cli.call_commands import calls
from threadmesh.cli.cert_commands import certs
from threadmesh.cli.exits import Exit, exit_status
from threadmesh.cli.groups import threads, tools
from threadmesh.cli.key_commands import keys
from threadmesh.cli.task_commands import tasks
from threadmesh.errors import MeshError

_EPILOG = (
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 not running or not healthy, 78 wrong configuration, "
    "130 interrupted."
)

app = typer.Typer(
    name="threadmesh",
    help="Conversations, tools and llama.cpp inference behind an OpenAI-format API, on your own hardware.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(tools, name="tools")
app.add_typer(calls, name="calls")
app.add_typer(threads, name="threads")
app.add_typer(tasks, name="tasks")
app.add_typer(keys, name="keys")
app.add_typer(certs, name="certs")


def main() -> None:
    """Run the command line; every expected error is one line on stderr."""
    try:
        app()
    except MeshError as error:
        words = " ".join(error.message.split())
        typer.echo(f"error: {''.join(each for each in words if each.isprintable())}", err=True)
        sys.exit(exit_status(error))


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the mesh serves.")] = False,
    model: options.Model = "",
    config: options.Config = None,
    data_dir: options.DataDir = None,
    port: options.Port = None,
    scripted: options.Script = None,
    mtls: options.Mtls = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until every unit must serve.")] = 600.0,
) -> None:
    """Start the mesh on this machine and keep it running.

    Four processes on loopback, each started again if it crashes. Ctrl-C stops them. Settings come from the command
    line, then the environment (INFERENCE_..., TOOLS_..., CONTEXT_..., FACADE_...), then the file of --config.

    Examples:
      threadmesh up
      threadmesh up --detach --model ~/models/qwen2.5-7b-instruct-q4_k_m.gguf
      threadmesh up --config threadmesh.toml --port 9000
      threadmesh up --mtls
    """
    from threadmesh.cli.up import Wishes, up  # loaded by need

    wishes = Wishes(model=model, config=config, data_dir=data_dir, port=port, script=scripted, mtls=mtls)
    up(wishes, detach=detach, seconds=timeout)


@app.command()
def down(
    *,
    data_dir: options.DataDir = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds until what still runs is killed.")] = 60.0,
) -> None:
    """Stop the mesh and wait until it is gone.

    Running answers get time to end. Stopping what does not run is no error.

    Examples:
      threadmesh down
      threadmesh down --timeout 5
    """
    from threadmesh.cli.down import down  # loaded by need
    from threadmesh.settings import data_directory  # loaded by need

    typer.echo(down((data_dir or data_directory()).expanduser().absolute(), seconds=timeout))


@app.command()
def worker(*, config: options.Config = None, data_dir: options.DataDir = None) -> None:
    """Carry the calls of long tools, where TOOLS_TASK_RUNNER is celery; start as many as you like.

    Takes the settings of tools_svc. SIGTERM and Ctrl-C let running calls end for a while (TOOLS_DRAIN_SECONDS), then
    give them back.

    Examples:
      threadmesh worker
      threadmesh worker --config threadmesh.toml
    """
    from threadmesh.cli.up import Wishes  # loaded by need
    from threadmesh.cli.worker import become_worker  # loaded by need

    become_worker(Wishes(config=config, data_dir=data_dir))


@app.command()
def status(*, data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """Show how each unit is, and the models, tools and threads there are.

    Ends with 0 when every unit serves and with 3 otherwise.

    Examples:
      threadmesh status
      threadmesh status --json | jq .threads
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.status import mesh_status, show, show_json  # loaded by need

    located = locate(data_dir=data_dir, required=False)
    found = asyncio.run(mesh_status(located))
    (show_json if json else show)(found, located)
    if not found.serving:
        raise typer.Exit(Exit.NOT_RUNNING)


@app.command()
def chat(
    *,
    once: Annotated[str, typer.Option("--once", help="Ask this, show the answer and end.")] = "",
    thread: Annotated[
        str, typer.Option("--thread", "-t", metavar="KEY", help="Continue the thread of this key, or begin it.")
    ] = "",
    tools: Annotated[
        str, typer.Option("--tools", metavar="none|all|NAME,...", help="Tools of the mesh the model may call.")
    ] = "none",
    tool_choice: Annotated[
        str, typer.Option("--tool-choice", metavar="auto|required|NAME", help="Whether it must, or which one.")
    ] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="A model of the mesh.", show_default="the first")] = "",
    system: Annotated[str, typer.Option("--system", "-s", help="Instructions for the model.")] = "",
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Limit of an answer.")] = None,
    url: options.Url = "",
    data_dir: options.DataDir = None,
) -> None:
    """Talk to the mesh in the terminal.

    Answers appear as they are written, tool calls with their progress. Ctrl-C stops an answer, Ctrl-D leaves. Text on
    stdin is asked as one question. THREADMESH_API_KEY is sent where the mesh wants a key.

    Examples:
      threadmesh chat
      threadmesh chat --thread me:notes --tools all
      threadmesh chat --once "What time is it in Tokyo?" --tools time__get_current_time --tool-choice required
      cat report.txt | threadmesh chat --system "Summarise this."
    """
    from threadmesh.cli.answers import Question  # loaded by need
    from threadmesh.cli.chat import chat  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    if not tools.isascii():
        raise typer.BadParameter("names of tools are ASCII", param_hint="--tools")
    text = once or ("" if sys.stdin.isatty() else sys.stdin.read().strip())
    if not text and not sys.stdin.isatty():
        raise typer.BadParameter("stdin holds no question; write one there or use --once", param_hint="--once")
    template = Question(model=model, thread_key=thread, tools=tools, tool_choice=tool_choice, max_tokens=max_tokens)
    chat(locate(data_dir=data_dir, url=url), template, system=system, text=text)


@app.command()
def mcp(*, target: options.Target = "", data_dir: options.DataDir = None) -> None:
    """Offer the tools of the running mesh as an MCP server on stdin and stdout.

    For MCP clients that start their servers themselves. Ends when the input does.

    Examples:
      threadmesh mcp
      claude mcp add mesh -- threadmesh mcp
    """
    from threadmesh.cli.locate import locate  # loaded by need

    try:
        from threadmesh.cli.bridge import bridge  # loaded by need
    except ModuleNotFoundError as error:
        raise MeshError("`threadmesh mcp` needs MCP's SDK: pip install 'threadmesh[tools]'") from error

    asyncio.run(bridge(locate(data_dir=data_dir, target=target).addresses["tools"]))


@app.command()
def doctor(
    *,
    json: options.Json = False,
    model: options.Model = "",
    config: options.Config = None,
    data_dir: options.DataDir = None,
    port: options.Port = None,
) -> None:
    """Say what is wrong with the installation, the machine or the running mesh, and how to mend it.

    Takes the options of `up` and changes nothing. Ends with 1 when something must be mended.

    Examples:
      threadmesh doctor
      threadmesh doctor --model ~/models/qwen2.5-7b-instruct-q4_k_m.gguf
    """
    from threadmesh.cli.doctor import examine, mendable, show  # loaded by need
    from threadmesh.cli.up import Wishes  # loaded by need

    findings = asyncio.run(examine(Wishes(model=model, config=config, data_dir=data_dir, port=port)))
    show(findings, as_json=json)
    if mendable(findings):
        raise typer.Exit(Exit.FAILED)


@app.command()
def version() -> None:
    """Show the version.

    Example:
      threadmesh version
    """
    from threadmesh.telemetry.metrics import installed_version  # loaded by need

    typer.echo(f"threadmesh {installed_version()}")
