"""What a request says, as the domain reads it."""

import pytest

from inference_svc.edge.codec import decode_generate
from threadmesh.api.inference.v1 import inference_service_pb2 as pb


@pytest.mark.parametrize(("caller", "scope", "read"), [("ann", "s", "ann"), ("", "s", "s"), ("", "", "")])
def test_who_names_no_caller_is_known_by_its_cache(caller: str, scope: str, read: str) -> None:
    assert decode_generate(pb.GenerateRequest(caller=caller, cache_scope=scope)).caller == read
