"""The commands `threadmesh keys ...`; like those of `app`, they import by need."""

from pathlib import Path
from typing import Annotated

import typer

from threadmesh.cli import options
from threadmesh.keys.key import Scope

keys = typer.Typer(help="Make, list and revoke the keys of the API.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option(
        "--file", envvar="FACADE_KEYS_FILE", dir_okay=False, help="The keys file.", show_default="<data dir>/keys.toml"
    ),
]


def _limit(name: str, what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        name, min=0, metavar="N", help=f"{what}; 0 is no limit.", show_default="the facade's setting"
    )
    return option


@keys.command("create")
def keys_create(
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="What it is for, for people.")] = "",
    tenant: Annotated[
        str, typer.Option("--tenant", help="Whose data it sees; several keys may share it.", show_default="the default")
    ] = "",
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", "-s", help="What it may be used for; may be given again.", show_default="all"),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="90d|12h|DATE", help="When it ends.", show_default="never")
    ] = "",
    requests_per_minute: Annotated[int | None, _limit("--requests-per-minute", "Requests for answers")] = None,
    tokens_per_minute: Annotated[int | None, _limit("--tokens-per-minute", "Tokens of prompts and answers")] = None,
    tool_calls_per_minute: Annotated[int | None, _limit("--tool-calls-per-minute", "Calls of the mesh's tools")] = None,
    concurrent_streams: Annotated[
        int | None, _limit("--concurrent-streams", "Answers that are waited for or read at once")
    ] = None,
    stored_bytes: Annotated[int | None, _limit("--stored-bytes", "Bytes that its tenant may have stored")] = None,
    json: options.Json = False,
    file: File = None,
    data_dir: options.DataDir = None,
) -> None:
    """Make a key and show it, once: only its hash is kept. A running facade knows it within seconds.

    The key alone is written to stdout.

    Examples:
      threadmesh keys create --name "discord bot"
      threadmesh keys create --tenant family --scope chat --scope models.read --expires 90d
      THREADMESH_API_KEY=$(threadmesh keys create --requests-per-minute 60) threadmesh chat
    """
    from threadmesh.cli.keys import NewKey, create_key, keys_file  # loaded by need
    from threadmesh.keys.key import KeyLimits  # loaded by need

    limits = KeyLimits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        tool_calls_per_minute=tool_calls_per_minute,
        concurrent_streams=concurrent_streams,
        stored_bytes=stored_bytes,
    )
    wanted = NewKey(name=name, tenant=tenant, scopes=scope or tuple(Scope), expires=expires, limits=limits)
    create_key(keys_file(file, data_dir), wanted, as_json=json)


@keys.command("list")
def keys_list(*, json: options.Json = False, file: File = None, data_dir: options.DataDir = None) -> None:
    """List the keys of the file, without their secrets. Those of FACADE_API_KEYS are not in it.

    Examples:
      threadmesh keys list
      threadmesh keys list --json | jq -r '.[] | select(.state == "active").id'
    """
    from threadmesh.cli.keys import keys_file, show_keys  # loaded by need

    show_keys(keys_file(file, data_dir), as_json=json)


@keys.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it, or the key itself.")],
    *,
    file: File = None,
    data_dir: options.DataDir = None,
) -> None:
    """Let a key be valid no longer. A running facade refuses it within seconds; answers under way go on.

    Examples:
      threadmesh keys revoke 8f14e45fceea
    """
    from threadmesh.cli.keys import keys_file, revoke  # loaded by need

    typer.echo(revoke(keys_file(file, data_dir), key))
