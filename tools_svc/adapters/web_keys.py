"""The keys of the servers file that lead elsewhere: addresses, and values that may name secrets."""

import re
from collections.abc import Iterator
from typing import Any

from tools_svc.adapters import located_json, web_address
from tools_svc.adapters.secrets import SecretMissing, blank, expand
from tools_svc.adapters.written_secrets import address_holds_secret, arguments_with_secrets, holds_secret

Complaint = tuple[located_json.Path, str]

_HELD = "it holds a secret; write ${env:NAME} or ${file:/path} instead"


def check_secrets(value: Any) -> Iterator[Complaint]:
    """Say what is wrong with an object of strings, of which no secret may stand there itself."""
    if not isinstance(value, dict):
        yield (), "it must be an object of strings"
        return
    for name, text in value.items():
        if not isinstance(text, str) or re.search(r"[\0\r\n]", name + text):
            yield (name,), "it must be a string of one line"
        elif holds_secret(name, text):
            yield (name,), _HELD
        else:
            yield from (((name,), reason) for reason in _missing(text))


def _missing(text: str) -> Iterator[str]:
    try:
        expand(text)
    except SecretMissing as error:
        yield error.message


def check_arguments(value: Any) -> Iterator[Complaint]:
    """Say what is wrong with a program's arguments, which every user of the machine can see."""
    if not isinstance(value, list) or not all(isinstance(each, str) and "\0" not in each for each in value):
        yield (), "it must be a list of strings"
        return
    for place in arguments_with_secrets(value):
        yield (place,), "it holds a secret, and arguments can be seen by others; put it into 'env' as ${env:NAME}"


def check_private_network(value: Any) -> Iterator[Complaint]:
    """Say what is wrong with the word on whether private networks may be reached."""
    if not isinstance(value, bool):
        yield (), "it must be true or false"


def check_url(value: Any, *, private_network: Any) -> Iterator[Complaint]:
    """Say what is wrong with an address, given what stands beside it about private networks.

    Secrets may be named behind its `?`, for servers that take them nowhere else.
    """
    if complaint := web_address.complaint(value, private_network=private_network is True):
        yield (), complaint
    elif address_holds_secret(value):
        yield (), _HELD
    elif value.partition("?")[0] != blank(value.partition("?")[0], ""):
        yield (), "secrets may be named behind the '?' only"
    else:
        yield from (((), reason) for reason in _missing(value))
