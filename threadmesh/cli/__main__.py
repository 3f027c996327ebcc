"""`python -m threadmesh.cli`: the same as `threadmesh`."""

from threadmesh.cli.app import main

main()
