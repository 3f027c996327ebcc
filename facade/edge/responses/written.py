"""Where in a request for a response its media and tools stand."""

from collections.abc import Iterator

from facade.domain.written import Written, media_name, tool_name
from facade.edge.responses.input_items import FunctionOutputItem, MessageItem
from facade.edge.responses.messages import parts_of
from facade.edge.responses.schemas import FunctionTool, ResponseRequest
from threadmesh.conversation import Media


def written(asked: ResponseRequest) -> Written:
    """Give the places of media and tools in a request as its client wrote it, before references are followed."""
    tools = enumerate(asked.tools or ())
    places = {tool_name(tool.name): f"tools[{index}]" for index, tool in tools if isinstance(tool, FunctionTool)}
    for name, place in _media(asked):
        places.setdefault(name, place)
    return places


def _media(asked: ResponseRequest) -> Iterator[tuple[str, str]]:
    for index, item in enumerate([] if isinstance(asked.input, str) else asked.input):
        match item:
            case MessageItem(content=content):
                field = "content"
            case FunctionOutputItem(output=content):
                field = "output"
            case _:
                continue
        for at, part in enumerate(parts_of(content)):
            if isinstance(part, Media):
                yield media_name(part), f"input[{index}].{field}[{at}]"
