"""What a request says, as the domain reads it."""

import pytest

from inference_svc.edge.codec import decode_generate
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.inference.v1 import inference_service_pb2 as pb


@pytest.mark.parametrize(("caller", "scope", "read"), [("ann", "s", "ann"), ("", "s", "s"), ("", "", "")])
def test_who_names_no_caller_is_known_by_its_cache(caller: str, scope: str, read: str) -> None:
    said = [conversation.Message(role=conversation.ROLE_USER)]
    asked = pb.GenerateRequest(messages=said, caller=caller, cache_scope=scope)

    assert decode_generate(asked).caller == read
