"""gRPC must know before it is imported that nobody forks beside it."""

import subprocess
import sys

import pytest

SCRIPT = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))

sys.meta_path.insert(0, Watch())
__import__(sys.argv[1])
"""


@pytest.mark.parametrize(
    "module",
    ["context_svc.app", "facade.app", "inference_svc.app", "threadmesh.cli.calls", "tools_svc.app"],
)
def test_every_process_imports_grpc_without_its_support_of_forks(module: str) -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT, module], capture_output=True, text=True, check=True, env={})

    assert set(found.stdout.split()) == {"0"}
