"""What a response repeats of its request."""

from collections.abc import Mapping, Sequence
from typing import Any

from facade.domain import offer
from facade.domain.ports import Model
from facade.edge.responses.offered import told
from facade.edge.responses.schemas import FunctionTool, ResponseRequest, Tool
from facade.edge.responses.stored import Echo


def echo(request: ResponseRequest, offered: Mapping[str, Sequence[offer.Tool]], model: Model | None = None) -> Echo:
    """Give what of a request is kept with its run; how the `model` draws where the request does not say."""
    given = request.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"service_tier"})
    drawn = {"temperature": model and model.temperature, "top_p": model and model.top_p}
    given = {name: value for name, value in drawn.items() if value is not None} | given
    fields = {name: given.get(name, otherwise) for name, otherwise in _REPEATED.items()}
    fields["tools"] = [_told_tool(tool) for tool in request.tools or ()]
    fields["conversation"] = request.conversation_named()
    fields["text"] = {"format": {"type": "text"}, **given.get("text", {})}
    listed = [{"server_label": label, "tools": [told(tool) for tool in tools]} for label, tools in offered.items()]
    return Echo(
        fields=fields,
        listed=listed,
        background=bool(request.background),
        stored=request.store is not False,
    )


def other_wishes(request: ResponseRequest, shown: Echo) -> set[str]:
    """Name the fields that want something else than the request which a response repeats."""
    wanted = echo(request, {}).fields
    return {
        name
        for name in request.model_fields_set & wanted.keys() - {"previous_response_id"}
        if wanted[name] != shown.fields.get(name)
    }


def _told_tool(tool: Tool) -> dict[str, Any]:
    """Repeat a tool; OpenAI's clients take for granted that a function has parameters and says whether it is strict."""
    given: dict[str, Any] = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(tool, FunctionTool):
        return {**given, "parameters": tool.parameters, "strict": bool(tool.strict)}
    return given


_REPEATED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "model": "",
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {},
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "truncation": "auto",
    "user": None,
}
"""What a response repeats of its request, and what it says where that says nothing."""
