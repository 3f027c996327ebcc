"""Fields of requests: services know them by the names on their wire, clients by those of the OpenAI API."""

import re

_SAID = r"(?:messages\b|input(?=\[\d+\]\.message))(\[\d+\])?(?:\.message)?"
"""A message on the wire of the services."""
_EVERYWHERE = (
    (r"^sampling\.logit_bias\[(-?\d+)\]", r"logit_bias.\1"),
    (r"^sampling\.mirostat\.mode\b", "mirostat"),
    (r"^sampling\.(dry|mirostat|xtc)\.", r"\1_"),
    (r"^sampling\.", ""),
    (r"^page_token\b", "after"),
    (r"^ids\b", "tokens"),
)
_CHAT = (
    (f"^{_SAID}", r"messages\1"),
    (r"\.schema_json\b", ".schema"),
    (r"\.parameters_json\b", ".function.parameters"),
    (r"\.arguments_json\b", ".function.arguments"),
)
_RESPONSES = (
    (f"^{_SAID}.*", "input"),  # its items are not numbered as the messages that they become
    (r"^response_format\.json_schema\.schema_json\b", "text.format.schema"),
    (r"^response_format\b", "text.format"),
    (r"\.parameters_json\b", ".parameters"),
)
_EMBEDDINGS = ((r"^inputs\b", "input"),)


def as_asked(field: str, path: str) -> str:
    """Give a field by its name in a request to this `path`."""
    for wire, asked in (*_EVERYWHERE, *_names(path)):
        field = re.sub(wire, asked, field)
    return field


def _names(path: str) -> tuple[tuple[str, str], ...]:
    if path.startswith("/v1/responses"):
        return _RESPONSES
    return _EMBEDDINGS if path.startswith("/v1/embeddings") else _CHAT
