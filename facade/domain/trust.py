"""Whether a model has read anything that anybody may have written: what it wants done then, a person may look at."""

from facade.domain.compaction import retells_others
from facade.domain.offer import Catalogue, is_tool_name
from facade.domain.records import Window
from facade.domain.result_text import says_not_found
from threadmesh.conversation import Message, Role


def tools_in(window: Window) -> list[str]:
    """Give the names of the mesh's tools, and of what may be one, whose results stand in a window."""
    return sorted({each.name for each in window.messages if each.role is Role.TOOL and is_tool_name(each.name)})


def is_trusted(window: Window, known: Catalogue) -> bool:
    """Say whether nothing that a model reads comes from a tool whose results anybody may have written.

    `known` are the tools of the mesh whose results stand there, offered to this model or not. One that is not among
    them is not trusted: it is gone or held back, and nobody can say what it was. Nor is a summary that retells tools.
    What clients say in their own name they vouch for, the results of their own functions included.
    """
    return not window.retells_others and not any(_is_untrusted(said, known) for said in window.messages)


def _is_untrusted(said: Message, known: Catalogue) -> bool:
    if said.role is not Role.TOOL:
        return retells_others(said)
    if not is_tool_name(said.name):  # a client's own function, or what a model made up
        return False
    tool = known.get(said.name)
    return not says_not_found(said.text, said.name) if tool is None else tool.untrusted
