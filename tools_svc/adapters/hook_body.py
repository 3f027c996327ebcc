"""What a webhook is sent in the place of a notification's parameters: a body of the operator's, in which they stand."""

import json
from collections.abc import Iterator
from typing import Any

from tools_svc.adapters import located_json
from tools_svc.adapters.secrets import PLACEHOLDER
from tools_svc.adapters.written_secrets import holds_secret

_KIND = "param"

Complaint = tuple[located_json.Path, str]


class ParameterMissing(Exception):
    """A notification lacks a parameter that the body names."""


def filled(body: Any, params: Any) -> Any:
    """Put parameters in the place of each `${param:name}`; `a.b` is the `b` of the object `a`.

    A string that is nothing but a placeholder becomes the value itself; within others it is text, as JSON unless it is
    a string. Raises `ParameterMissing`.
    """
    match body:
        case dict():
            return {name: filled(each, params) for name, each in body.items()}
        case list():
            return [filled(each, params) for each in body]
        case str() if (whole := PLACEHOLDER.fullmatch(body)) is not None:
            return _value(params, whole["what"])
        case str():
            return PLACEHOLDER.sub(lambda found: _text(_value(params, found["what"])), body)
        case _:
            return body


def check(body: Any) -> Iterator[Complaint]:
    """Say what is wrong with a body. Secrets are known by their look: many a field is named key or token here."""
    match body:
        case dict():
            for field, each in body.items():
                yield from (((field, *place), reason) for place, reason in check(each))
        case list():
            for index, each in enumerate(body):
                yield from (((index, *place), reason) for place, reason in check(each))
        case str():
            if holds_secret("", body):
                yield (), "it holds a secret; those of a hook stand in its 'headers' as ${env:NAME} or ${file:/path}"
            for found in PLACEHOLDER.finditer(body):
                if found["kind"] != _KIND:
                    yield (), f"{found[0]} means nothing here; ${{param:name}} is a parameter of the notification"


def _value(params: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(params, dict) or name not in params:
            raise ParameterMissing(path)
        params = params[name]
    return params


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
