"""Conversations in short, as items: what stands in a compaction item.

OpenAI's is encrypted. This one is not: it tells its client nothing that the client has not said or heard.
"""

import base64
import binascii

import orjson

from facade.domain.compaction import Summary


def sealed(summary: Summary) -> str:
    """Write a summary as the `encrypted_content` of a compaction item."""
    kept = {"version": 1, "summary": summary.text, "retells_others": summary.retells_others}
    return base64.b64encode(orjson.dumps(kept)).decode()


def opened(content: str) -> Summary:
    """Read what `sealed` wrote; what does not say whom it retells may retell others.

    Raises `ValueError` for anything else.
    """
    try:
        read = orjson.loads(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("was not made here") from error
    if not isinstance(read, dict) or read.get("version") != 1 or not isinstance(read.get("summary"), str):
        raise ValueError("was not made here")
    return Summary(text=read["summary"], retells_others=read.get("retells_others") is not False)
