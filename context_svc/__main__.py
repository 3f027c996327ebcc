"""`python -m context_svc` serves threads and runs."""

from context_svc.app import app
from context_svc.settings import ContextSettings
from threadmesh.rpc.unit import main

if __name__ == "__main__":
    main("context_svc", ContextSettings, app)
