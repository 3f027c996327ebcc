"""The commands `threadmesh tools resources`, `read`, `prompts` and `prompt`: what servers offer besides tools."""

import asyncio
from typing import Annotated

import typer

from threadmesh.cli import options


def add_to(tools: typer.Typer) -> None:
    """Add the commands to the group."""
    tools.command("resources")(tools_resources)
    tools.command("read")(tools_read)
    tools.command("prompts")(tools_prompts)
    tools.command("prompt")(tools_prompt)


def tools_resources(
    *, json: options.Json = False, target: options.Target = "", data_dir: options.DataDir = None
) -> None:
    """List what the servers offer to read; what stands in braces is to be filled in.

    Examples:
      threadmesh tools resources
      threadmesh tools resources --json | jq -r '.resources[].uri'
    """
    from threadmesh.cli.library import show_resources  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_resources(located.addresses["tools"], as_json=json))


def tools_read(
    server: Annotated[str, typer.Argument(help="The server, as `tools resources` names it.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="The resource.")],
    *,
    json: options.Json = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Write what a resource holds.

    Bytes go to a file or a pipe as they are; a terminal is only told of them.

    Examples:
      threadmesh tools read notes note://shopping
      threadmesh tools read camera camera://door/picture > door.png
    """
    from threadmesh.cli.library import show_content  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_content(located.addresses["tools"], server, uri, as_json=json))


def tools_prompts(*, json: options.Json = False, target: options.Target = "", data_dir: options.DataDir = None) -> None:
    """List the prompts that the servers offer, with their arguments; those in brackets may be left out.

    Examples:
      threadmesh tools prompts
      threadmesh tools prompts --json | jq -r '.prompts[].name'
    """
    from threadmesh.cli.library import show_prompts  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_prompts(located.addresses["tools"], as_json=json))


def tools_prompt(
    name: Annotated[str, typer.Argument(help="The prompt, as `tools prompts` names it.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="What fills it in.")] = None,
    *,
    json: options.Json = False,
    target: options.Target = "",
    data_dir: options.DataDir = None,
) -> None:
    """Write the messages that a prompt becomes.

    Examples:
      threadmesh tools prompt notes__summarize style=short
      threadmesh chat --once "$(threadmesh tools prompt notes__summarize style=short)"
    """
    from threadmesh.cli.library import show_prompt  # loaded by need
    from threadmesh.cli.locate import locate  # loaded by need

    located = locate(data_dir=data_dir, target=target)
    asyncio.run(show_prompt(located.addresses["tools"], name, arguments or [], as_json=json))
