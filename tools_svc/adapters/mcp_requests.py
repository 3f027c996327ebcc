"""What a server is sent to call a tool."""

from typing import Any, cast

import mcp_types as types

from tools_svc.adapters.mcp_questions import responses
from tools_svc.adapters.mcp_values import call_meta
from tools_svc.domain.call import Invocation


def called_with(invocation: Invocation) -> types.CallToolRequestParams:
    """Give the parameters of a call, with the answers that its server has asked for.

    Raises `ToolInputRequired` where one of them is missing.
    """
    return types.CallToolRequestParams(
        name=invocation.tool,
        arguments=invocation.arguments,
        input_responses=cast(Any, responses(invocation.answers)) if invocation.answers else None,
        request_state=invocation.request_state or None,
        _meta=cast(types.RequestParamsMeta, call_meta(invocation)),
    )
