"""A call that never comes back ends the process, and nothing else does."""

import signal
import subprocess
import sys

STALLING = """
import time
from inference_svc.adapters.llama_cpp import stall
stall.STALLED_SECONDS = 0
for _ in range(1000):
    with stall.must_return():
        pass
print("alive", flush=True)
with stall.must_return():
    time.sleep(60)
"""


def test_a_call_that_never_comes_back_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", STALLING], capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == -signal.SIGABRT
    assert done.stdout.startswith("alive")
    assert "grammar.stalled" in done.stdout
