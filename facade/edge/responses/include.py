"""What can be asked to be shown of a response, or of its input, beyond what is shown anyway."""

from collections.abc import Sequence

from fastapi import Request

from threadmesh.errors import InvalidArgument

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
"""Accepted, since some clients always ask for it, and never shown: thinking is not encrypted here."""
_INCLUDED = {LOGPROBS, ENCRYPTED, "message.input_image.image_url"}


def check_include(names: Sequence[str]) -> None:
    """Raise `InvalidArgument` for what is asked to be shown and cannot be."""
    for index, name in enumerate(names):
        if name not in _INCLUDED:
            raise InvalidArgument(f"{name[:64]} is not part of responses here.", field=f"include[{index}]")


def check_query(request: Request) -> list[str]:
    """Check what a query asks for, in all ways in which clients write lists; gives the places of what is in vain."""
    names = [value for name in ("include", "include[]") for value in request.query_params.getlist(name)]
    check_include(names)
    return [f"include[{index}]" for index, name in enumerate(names) if name == ENCRYPTED]
