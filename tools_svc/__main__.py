"""Runs tools_svc: `python -m tools_svc`."""

from threadmesh.rpc.unit import main
from tools_svc.app import app
from tools_svc.settings import ToolsSettings

if __name__ == "__main__":
    main("tools_svc", ToolsSettings, app)
