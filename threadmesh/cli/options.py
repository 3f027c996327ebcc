"""The options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class TaskState(StrEnum):
    """How far a task has come, as the command line writes it."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    FINISHED = "finished"


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="THREADMESH_DATA_DIR",
        file_okay=False,
        help="Where the mesh keeps its state.",
        show_default="~/.local/share/threadmesh",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="THREADMESH_CONFIG", help="A threadmesh.toml with the units' settings."),
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="A GGUF file, or hf:owner/repo/file.gguf.", show_default="the bundled one")
]
Port = Annotated[
    int | None, typer.Option("--port", "-p", min=0, max=65535, help="Port of the API.", show_default="8080")
]
Script = Annotated[
    Path | None,
    typer.Option("--scripted", exists=True, dir_okay=False, help="A JSON script; adds the model `scripted` for tests."),
]
Mtls = Annotated[
    bool,
    typer.Option("--mtls", help="Let units know each other by certificates, which are made if there are none."),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Target = Annotated[
    str, typer.Option("--target", metavar="HOST:PORT", help="The service, where it is not this machine's mesh.")
]
Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="THREADMESH_URL", metavar="URL", help="The API, where it is not this machine's mesh's."
    ),
]
