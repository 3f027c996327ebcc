"""inference_svc as a process of its own, to be asked over gRPC and to be killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.errors import MeshError
from threadmesh.rpc.status import from_rpc_error

SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class UnitProcess:
    """A running unit."""

    process: subprocess.Popen[str]
    stub: InferenceServiceStub

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self, number: signal.Signals) -> int:
        """Send it a signal, wait for its end, and give its status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def wait_until_ready(self) -> None:
        """Return once the model is loaded."""
        ends = time.monotonic() + SECONDS
        while (error := self.refusal("Hello", max_tokens=1)) is not None:
            assert time.monotonic() < ends, error
            time.sleep(0.1)

    def stream(self, text: str, **asked: Any) -> Iterator[pb.GenerateResponse]:
        """Ask for an answer."""
        said = conversation.Message(role=conversation.ROLE_USER, parts=[conversation.Part(text=text)])
        yield from self.stub.Generate(pb.GenerateRequest(messages=[said], **asked), timeout=SECONDS)

    def refusal(self, text: str, **asked: Any) -> MeshError | None:
        """Ask for an answer, and give the error if that is what comes."""
        try:
            list(self.stream(text, **asked))
        except grpc.RpcError as error:
            return from_rpc_error(error, peer="inference")  # type: ignore[arg-type]  # like that of grpc.aio
        return None


@contextmanager
def unit_process(**settings: object) -> Iterator[UnitProcess]:
    """Start the unit with these settings and end it with the block, whatever state it is in."""
    chosen = {"port": 0, "metrics_port": 0, **settings}
    environment = {**os.environ, **{f"INFERENCE_{name.upper()}": str(value) for name, value in chosen.items()}}
    process = subprocess.Popen(
        [sys.executable, "-m", "inference_svc"], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        port = next(json.loads(line)["port"] for line in process.stderr if '"unit.listening"' in line)
        drain = threading.Thread(target=deque, args=(process.stderr, 0))
        drain.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield UnitProcess(process=process, stub=InferenceServiceStub(channel))
    finally:
        process.kill()
        process.wait(SECONDS)
    drain.join(SECONDS)
    process.stderr.close()
