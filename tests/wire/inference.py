"""How tests of inference_svc on the wire ask, and read what comes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from inference_svc.adapters.script import Script
from inference_svc.app import service
from inference_svc.domain.router import Router
from inference_svc.edge.servicer import InferenceServicer
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.errors import (
    MeshError,
)
from threadmesh.rpc.channel import translated
from threadmesh.testing.loopback import channel_for

if TYPE_CHECKING:
    from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub as Stub

SECONDS = 60.0
SCRIPT = Script.model_validate(
    {
        "context_tokens": 256,
        "rules": [
            {
                "match": "break",
                "steps": [{"text": "So far so"}],
                "fail": {"reason": "BACKEND_UNAVAILABLE", "after_tokens": 2},
            },
            {"match": "full", "refuse": {"reason": "OVERLOADED"}},
            {"match": "hang", "steps": [{"text": "And"}, {"stall": True}]},
            {"match": "think", "steps": [{"reasoning": "They want something."}, {"text": "Here it is."}]},
            {"match": "emoji", "steps": [{"text": "😀 👩‍👩‍👧 é"}]},
        ],
    }
)


@asynccontextmanager
async def serving(router: Router, *, heartbeat: float = 0.5) -> AsyncIterator["Stub"]:
    served = service(router)
    quick = type(served)(servicer=InferenceServicer(router, heartbeat=heartbeat), add=served.add, name=served.name)
    async with channel_for(quick) as channel:
        yield InferenceServiceStub(channel)


def user(text: str) -> conversation.Message:
    return conversation.Message(role=conversation.ROLE_USER, parts=[conversation.Part(text=text)])


def asking(text: str, **fields: Any) -> pb.GenerateRequest:
    return pb.GenerateRequest(messages=[user(text)], **fields)


async def generated(stub: "Stub", request: pb.GenerateRequest) -> list[pb.GenerateResponse]:
    return [response async for response in stub.Generate(request, timeout=SECONDS)]


async def failing(stub: "Stub", request: pb.GenerateRequest) -> tuple[list[pb.GenerateResponse], MeshError]:
    found: list[pb.GenerateResponse] = []
    with pytest.raises(MeshError) as caught:
        async with translated(peer="inference"):
            async for response in stub.Generate(request, timeout=SECONDS):
                found.append(response)
    return found, caught.value


def kinds(responses: list[pb.GenerateResponse]) -> list[str]:
    return [str(response.WhichOneof("event")) for response in responses]


def text_of(responses: list[pb.GenerateResponse]) -> str:
    return "".join(response.text_delta.text for response in responses)


def calls_of(responses: list[pb.GenerateResponse]) -> list[tuple[str, str]]:
    calls: dict[int, tuple[str, str]] = {}
    for response in responses:
        if response.WhichOneof("event") == "tool_call_delta":
            delta = response.tool_call_delta
            name, arguments = calls.get(delta.index, ("", ""))
            calls[delta.index] = (name + delta.name, arguments + delta.arguments_json)
    return list(calls.values())
