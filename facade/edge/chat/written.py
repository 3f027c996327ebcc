"""Where in a request for a completion its media and tools stand."""

from collections.abc import Iterator, Sequence

from facade.domain.written import Written, media_name, tool_name
from facade.edge.chat import schemas
from threadmesh.conversation import Media, Message, Reasoning


def written(asked: Sequence[schemas.Message], said: Sequence[Message], tools: Sequence[schemas.Tool]) -> Written:
    """Give the places of media and tools; the messages asked with are given as they are `said` to a model, too."""
    places = {tool_name(tool.function.name): f"tools[{index}]" for index, tool in enumerate(tools)}
    for index, (message, told) in enumerate(zip(asked, said, strict=True)):
        for name, part in _media(message, told):
            places.setdefault(name, f"messages[{index}].content[{part}]")
    return places


def _media(asked: schemas.Message, said: Message) -> Iterator[tuple[str, int]]:
    """Name the media of a message, each with its number; what was thought comes before its content."""
    if isinstance(asked.content, list):
        before = sum(isinstance(part, Reasoning) for part in said.parts)
        for index, part in enumerate(said.parts):
            if isinstance(part, Media):
                yield media_name(part), index - before
