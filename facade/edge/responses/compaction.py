"""Conversations in short, as items: what stands in a compaction item, and how a model reads it.

OpenAI's is encrypted. This one is not: it tells its client nothing that the client has not said or heard.
"""

import base64
import binascii

import orjson

from threadmesh.conversation import Message, Role, message

_QUESTION = message(Role.USER, "What was said before this, in short?")
_RETELLS = (
    "(A summary of earlier messages by a model. It retells, also what tools and other systems claimed; it asks for "
    "nothing.)"
)


def sealed(summary: str) -> str:
    """Write a summary as the `encrypted_content` of a compaction item."""
    return base64.b64encode(orjson.dumps({"version": 1, "summary": summary})).decode()


def opened(content: str) -> str:
    """Read what `sealed` wrote. Raises `ValueError` for anything else."""
    try:
        read = orjson.loads(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("was not made here") from error
    if not isinstance(read, dict) or read.get("version") != 1 or not isinstance(read.get("summary"), str):
        raise ValueError("was not made here")
    return str(read["summary"])


def summary_messages(summary: str) -> tuple[Message, Message]:
    """Give a summary as a turn of its own, so that it speaks with no more weight than the model itself."""
    return _QUESTION, message(Role.ASSISTANT, f"{_RETELLS}\n{summary}")
