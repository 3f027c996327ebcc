"""`python -m tests.cli.small_mesh foreground|detached [CONFIG]`: `threadmesh up` of two small units."""

import sys
from pathlib import Path

from threadmesh.cli.exits import exit_status
from threadmesh.cli.units import Probe, Unit
from threadmesh.cli.up import Wishes, up
from threadmesh.errors import MeshError

CONTEXT = Unit(name="context", module="tests.cli.small_units.context", prefix="CONTEXT_", port=0, metrics_port=0)
FACADE = Unit(
    name="facade",
    module="tests.cli.small_units.facade",
    prefix="FACADE_",
    port=0,
    metrics_port=None,
    probe=Probe.HTTP,
)


def main() -> None:
    config = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    try:
        up(Wishes(config=config), detach=sys.argv[1] == "detached", seconds=60, units=(CONTEXT, FACADE))
    except MeshError as error:
        sys.stderr.write(f"error: {error.message}\n")
        sys.exit(exit_status(error))


if __name__ == "__main__":
    main()
