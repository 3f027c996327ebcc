"""A mesh whose inference service a test looks into, or changes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from inference_svc.adapters.script import read_script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.router import Router
from inference_svc.edge.servicer import InferenceServicer
from tests.turn.mesh import SCRIPT, Mesh, running, served
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit

Servicer = TypeVar("Servicer", bound=InferenceServicer)


@asynccontextmanager
async def running_with(
    make: Callable[[Router], Servicer], directory: Path, **changed: Any
) -> AsyncIterator[tuple[Mesh, Servicer]]:
    """Run a mesh as `running` does, with this servicer before the scripted backend; gives both."""
    router = Router([ScriptedBackend(read_script(SCRIPT), created=1)])
    servicer = make(router)

    @asynccontextmanager
    async def app(*_: object) -> AsyncIterator[Unit]:
        name = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name
        service = Service(servicer=servicer, add=add_InferenceServiceServicer_to_server, name=name)
        yield Unit(services=[service], ping=router.ping)

    async with AsyncExitStack() as stack:
        target = f"127.0.0.1:{await served(stack, app, None)}"
        yield await stack.enter_async_context(running(directory, inference_target=target, **changed)), servicer
