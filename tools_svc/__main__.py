"""Runs tools_svc: `python -m tools_svc`."""

import sys

from threadmesh.rpc.unit import main
from tools_svc.app import app
from tools_svc.settings import ToolsSettings

SWITCH_SECONDS = 0.0005
"""After so long a thread that reads a long list lets the event loop go on: a tenth of what Python does by itself."""

if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_SECONDS)
    main("tools_svc", ToolsSettings, app)
