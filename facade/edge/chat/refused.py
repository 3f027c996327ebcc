"""Fields of OpenAI's that are answered with a reason: to ignore them would be to promise what does not happen."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def refused(reason: str) -> Any:
    """Make the type of a field that may only be absent; `reason` goes on behind the field's name."""

    def refuse(given: Any) -> None:
        if given is not None:
            raise ValueError(reason)

    return Annotated[None, BeforeValidator(refuse), Field(description=f"Refused: it {reason}.")]


Functions = refused("is the old form of tools; send tools and tool_choice instead")
FunctionCall = refused("is the old form of tool_calls; send tool_calls instead")
WebSearch = refused("needs the web; give the model a search tool instead, for example as a tool server of the mesh")
Audio = refused("asks for speech, which no model here makes")
Suffix = refused(
    "asks for text that fits between two others; write the model's own tokens for that into the prompt instead"
)
ReadOnly = refused("chooses tools by what their servers say of them; name the tools in tool_names instead")
Prompt = refused("names a template kept at OpenAI; send its messages instead")
