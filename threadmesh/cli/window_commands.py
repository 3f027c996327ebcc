"""The commands `threadmesh threads pin`, `unpin` and `summarize`: what a model sees of a long thread."""

import asyncio
from typing import Annotated

import typer

from threadmesh.cli import options

Thread = Annotated[str, typer.Argument(metavar="ID|KEY", help="The thread.")]
Item = Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="The item, as `threads show` numbers it.")]


def add_to(threads: typer.Typer) -> None:
    """Add the commands to the group."""
    threads.command("pin")(threads_pin)
    threads.command("unpin")(threads_unpin)
    threads.command("summarize")(threads_summarize)


def threads_pin(thread: Thread, number: Item, *, target: options.Target = "", data_dir: options.DataDir = None) -> None:
    """Keep an item in every window that a model reads of a thread; a tool call and its results go together.

    Retention keeps it too.

    Examples:
      threadmesh threads pin me:notes 4
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.thread_pins import set_pinned  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(set_pinned(located.addresses["context"], thread, number, pinned=True))


def threads_unpin(
    thread: Thread, number: Item, *, target: options.Target = "", data_dir: options.DataDir = None
) -> None:
    """Take an item back out of every window. Where retention had passed it over, it goes now.

    Examples:
      threadmesh threads unpin me:notes 4
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.thread_pins import set_pinned  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(set_pinned(located.addresses["context"], thread, number, pinned=False))


def threads_summarize(
    thread: Thread,
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="A model of the mesh.", show_default="the first")] = "",
    up_to: Annotated[
        int | None,
        typer.Option("--up-to", min=0, metavar="NUMBER", help="The last item.", show_default="before the newest turn"),
    ] = None,
    json: options.Json = False,
    data_dir: options.DataDir = None,
) -> None:
    """Have a model summarize the beginning of a thread, for windows that have no room for it.

    The items stay; the summary is added behind them. Where there is one already, it is summarized together with what
    follows it. What was said is material to the model, never an instruction.

    Examples:
      threadmesh threads summarize me:notes
      threadmesh threads summarize discord:1:2 --model qwen2.5-7b-instruct --up-to 400
    """
    from threadmesh.cli.locate import locate  # loaded by need
    from threadmesh.cli.thread_summary import summarize_thread  # loaded by need

    where = locate(data_dir=data_dir).addresses
    asyncio.run(summarize_thread(where["context"], where["inference"], thread, model=model, up_to=up_to, as_json=json))
