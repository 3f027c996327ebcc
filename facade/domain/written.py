"""Where a client wrote what a model's service refuses.

That service numbers the messages and tools of a whole conversation: the thread's, the mesh's and the request's.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from threadmesh.conversation import Media, Message, ToolDefinition
from threadmesh.errors import MeshError

Written = Mapping[str, str]
"""The places of media and tools in a request, in the words of its client."""

_MEDIA = re.compile(r"messages\[(\d+)\]\.parts\[(\d+)\]")
_TOOL = re.compile(r"tools\[(\d+)\]")


def media_name(media: Media) -> str:
    """Name an image or a sound by what it holds; so it is found wherever it stands in a conversation."""
    return f"media {hashlib.sha256(media.data).hexdigest()[:32]}"


def tool_name(name: str) -> str:
    """Name a tool of the client's."""
    return f"tool {name}"


def tell_place(
    error: MeshError, written: Written, *, messages: Sequence[Message], tools: Sequence[ToolDefinition]
) -> None:
    """Let an error about a conversation name the place in the request.

    Of what the request does not hold itself, it names `messages` or `tools` as a whole.
    """
    field = error.facts.get("field", "")
    if found := _MEDIA.match(field):
        part = messages[int(found[1])].parts[int(found[2])]
        name = media_name(part) if isinstance(part, Media) else ""
        error.facts["field"] = written.get(name, "messages")
    elif found := _TOOL.match(field):
        place = written.get(tool_name(tools[int(found[1])].name))
        error.facts["field"] = place + field[found.end() :] if place else "tools"
