"""The keys of the servers file that lead elsewhere: addresses, and values that may name secrets."""

import re
from collections.abc import Iterator
from typing import Any

from tools_svc.adapters import located_json, web_address
from tools_svc.adapters.secrets import SecretMissing, expand, has_placeholder

Complaint = tuple[located_json.Path, str]

_SECRET_NAME = re.compile(r"token|secret|passw|api[-_]?key|credential|authorization|cookie", re.IGNORECASE)


def check_secrets(value: Any) -> Iterator[Complaint]:
    """Say what is wrong with an object of strings, of which no secret may stand there itself."""
    if not isinstance(value, dict):
        yield (), "it must be an object of strings"
        return
    for name, text in value.items():
        if not isinstance(text, str) or re.search(r"[\0\r\n]", name + text):
            yield (name,), "it must be a string of one line"
        elif _SECRET_NAME.search(name) and text and not has_placeholder(text):
            yield (name,), "it holds a secret; write ${env:NAME} or ${file:/path} instead"
        else:
            yield from (((name,), reason) for reason in _missing(text))


def _missing(text: str) -> Iterator[str]:
    try:
        expand(text)
    except SecretMissing as error:
        yield error.message


def check_private_network(value: Any) -> Iterator[Complaint]:
    """Say what is wrong with the word on whether private networks may be reached."""
    if not isinstance(value, bool):
        yield (), "it must be true or false"


def check_url(value: Any, *, private_network: Any) -> Iterator[Complaint]:
    """Say what is wrong with an address, given what stands beside it about private networks."""
    if complaint := web_address.complaint(value, private_network=private_network is True):
        yield (), complaint
