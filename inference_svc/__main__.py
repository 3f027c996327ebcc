"""`python -m inference_svc` serves models."""

from inference_svc.app import app
from inference_svc.settings import InferenceSettings
from threadmesh.rpc.unit import main

if __name__ == "__main__":
    main("inference_svc", InferenceSettings, app)
