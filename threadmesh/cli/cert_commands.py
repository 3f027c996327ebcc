"""The commands `threadmesh certs ...`; like those of `app`, they import by need."""

from pathlib import Path
from typing import Annotated

import typer

from threadmesh.cli import options

certs = typer.Typer(help="Make and show the certificates by which units know each other.", no_args_is_help=True)

Directory = Annotated[
    Path | None,
    typer.Option("--directory", "-o", file_okay=False, help="Where they are.", show_default="<data dir>/certificates"),
]


@certs.command("create")
def certs_create(
    members: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MEMBER ...]", help="inference, tools, context, facade, envoy, cli; without any, all."),
    ] = None,
    *,
    dns: Annotated[
        list[str] | None, typer.Option("--dns", metavar="NAME", help="Another host name of the units; again for more.")
    ] = None,
    ip: Annotated[
        list[str] | None, typer.Option("--ip", metavar="ADDRESS", help="An IP address of the units; again for more.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=825, help="How long they are valid.")] = 365,
    force: Annotated[bool, typer.Option("--force", help="Replace those that are there; never the authority.")] = False,
    directory: Directory = None,
    data_dir: options.DataDir = None,
) -> None:
    """Make an authority, unless there is one, and a certificate for each member of the mesh.

    For development and meshes of your own; docs/security.md says how units take them and how cert-manager makes them.
    Keys can be read by their owner alone. Running units take replaced certificates by themselves.

    Examples:
      threadmesh certs create
      threadmesh certs create --directory ./certificates --dns mesh.example --ip 192.168.1.10
      threadmesh certs create tools --force
    """
    from threadmesh.cli.certs import Order, certificates_directory, create  # loaded by need

    order = Order(members=members or (), dns=dns or (), ip=ip or (), days=days, force=force)
    create(certificates_directory(directory, data_dir), order)


@certs.command("show")
def certs_show(*, json: options.Json = False, directory: Directory = None, data_dir: options.DataDir = None) -> None:
    """Show whose certificates there are, for which names, and until when.

    Examples:
      threadmesh certs show
      threadmesh certs show --json | jq -r '.[] | select(.state != "valid").certificate'
    """
    from threadmesh.cli.certs import certificates_directory, show  # loaded by need

    show(certificates_directory(directory, data_dir), as_json=json)
