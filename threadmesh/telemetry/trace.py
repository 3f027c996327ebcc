"""The trace that a caller's request is part of, in the form of W3C Trace Context (its `traceparent`).

The mesh makes no spans of its own. It passes the trace on, so that what a tool's server notes hangs below the span of
whoever asked, and its lines in the log name it.
"""

import re

_FIELDS = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<place>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?"
)


def traceparent_of(given: str) -> str:
    """Give a `traceparent` as it is passed on, in the version that we know; empty where it has to be ignored."""
    fields = _FIELDS.fullmatch(given)
    if fields is None or (fields["version"] == "00" and fields["more"]):
        return ""
    return f"00-{fields['place']}"
