"""Write `docs/settings.md` and `docs/errors.md` from the classes, so that they cannot fall behind them.

python docs/generate.py             write
python docs/generate.py --check     exit 1 when a committed file is not what the classes say
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

import facade.app  # noqa: F401  # all of its errors
from context_svc.settings import ContextSettings
from facade.edge.errors import body_of, response_of
from facade.settings import FacadeSettings
from inference_svc.settings import InferenceSettings
from threadmesh.errors import MeshError
from threadmesh.settings import ConfigurationError, ProcessSettings
from tools_svc.settings import ToolsSettings

HERE = Path(__file__).parent
UNITS: dict[str, type[ProcessSettings]] = {
    "inference_svc": InferenceSettings,
    "tools_svc": ToolsSettings,
    "context_svc": ContextSettings,
    "facade": FacadeSettings,
}
_HEAD = """# Settings

Written by `docs/generate.py` from the settings classes. Each setting is an environment variable of its process. With
`threadmesh up --config FILE` the same settings stand in a TOML file, without the prefix and in lower case, under the
name of the unit: `FACADE_PORT` is `port` under `[facade]`. A name that means nothing is refused at the start.
"""


_ERRORS_HEAD = """# Errors

Written by `docs/generate.py` from the classes of errors. Every request that is not answered for is answered with
`{"error": {"message", "type", "param", "code"}}`, `x-request-id` and `x-should-retry`; the message says in a sentence
what is wrong and what helps, `param` where. A stream that has begun ends with the same object, without `[DONE]`; that
of a response with `response.failed`, whose `error` has the code below as `reason` and one of OpenAI's as `code`. All
routes are alike in this.

OpenAI's clients choose their exception by the status, and send a request again by themselves when `x-should-retry` is
`true`, after `retry-after-ms`. It is `false` once a tool may have been called: what may have had an effect is not had
again.

| status | what to do |
|---|---|
| 400 | Correct the request at `param`. |
| 401 | Send a valid key as `Authorization: Bearer <key>`. |
| 403 | Ask whoever may allow it. |
| 404 | Check the name. What belongs to another key is not found either. |
| 408 | Send it again, without a pause in the middle. |
| 409 | Wait until who is at it is done, then send the request again. |
| 410 | Ask for the run or the thread itself: its end is kept longer than its events. |
| 413, 431 | Send less at once. |
| 415 | Send JSON as `Content-Type: application/json`, without a content encoding. |
| 421 | Call the mesh by a name that `FACADE_HOSTS` allows. |
| 422 | Look at the present state; the same request is refused again. |
| 426 | Connect by WebSocket, or POST the request. |
| 429, 503 | Send it again after `Retry-After`; after `insufficient_quota`, once something was deleted. |
| 499 | Nothing: it was stopped. |
| 500 | Look into the log for the `x-request-id`: this is a defect, and nothing of it is told. |
| 501 | Use another model or server: this one does not offer it. |
| 502 | Look into the log of the tool's server. |
| 504 | Ask for less, or allow more time. |
| 507 | Free some space on the store's disk. |

## Codes
"""
KINDS = {
    "approval_not_found": "Nobody asked for this approval.",
    "array_above_max_length": "A list has too many members.",
    "array_below_min_length": "A list has too few members.",
    "decimal_above_max_value": "A number is too large.",
    "decimal_below_min_value": "A number is too small.",
    "duplicate_key": "A key stands twice in one object of the body.",
    "empty_array": "A list has no members and must have some.",
    "empty_string": "A text is empty and must not be.",
    "event_id_ahead": "The place lies ahead of the stream.",
    "integer_above_max_value": "A whole number is too large.",
    "integer_below_min_value": "A whole number is too small.",
    "invalid_event_id": "This is no place of the stream.",
    "invalid_idempotency_key": "The key must be 1 to 255 printable ASCII characters.",
    "invalid_number": "A number of the body is not finite.",
    "invalid_type": "A value is of another type than it must be.",
    "invalid_unicode": "A text holds NUL or half a surrogate pair, or the body is not UTF-8.",
    "invalid_value": "A value is not one that may stand there.",
    "json_too_complex": "The body has too many levels, values or digits.",
    "missing_required_parameter": "A field is missing.",
    "object_above_max_properties": "An object has too many members.",
    "previous_response_not_found": "There is no such response to go on with.",
    "schema_invalid": "The schema is not one.",
    "schema_pattern_unsupported": "A pattern of the schema cannot be used.",
    "schema_ref_cycle": "A reference of the schema leads to itself.",
    "schema_ref_external": "A reference of the schema leads outside.",
    "schema_too_complex": "The schema is beyond a limit, which the message names.",
    "schema_unsatisfiable": "Nothing can satisfy the schema.",
    "schema_unsupported": "A keyword of the schema cannot be used.",
    "string_above_max_length": "A text is too long.",
    "string_below_min_length": "A text is too short.",
    "tool_call_id_unknown": "A result answers no call that waits.",
    "unknown_parameter": "A field means nothing here, and the request asked for strictness.",
    "unsupported_parameter": "A field means nothing over this connection, or only one value of it does.",
}
"""Codes that say more than the class of an error, all of them with the status 400."""


def main() -> int:
    """Write the pages, or with `--check` compare them; returns the exit status."""
    stale = []
    for name, lines in PAGES.items():
        page, path = "\n".join(lines()), HERE / name
        if "--check" not in sys.argv[1:]:
            path.write_text(page)
        elif not path.exists() or path.read_text() != page:
            stale.append(name)
    for name in stale:
        print(f"docs/{name} is not what the classes say; run `python docs/generate.py`", file=sys.stderr)
    return int(bool(stale))


def error_lines() -> Iterator[str]:
    """Give the lines of the page of errors."""
    yield _ERRORS_HEAD
    yield "| code | status | again? | meaning |\n|---|---|---|---|"
    rows = {code: (400, "no", meaning) for code, meaning in KINDS.items()}
    for kind in descendants(MeshError):
        code, row = error_row(kind)
        rows.setdefault(code, row)
    rows |= {"not_found": (404, "no", "There is nothing of this name or at this path.")}
    rows |= {"method_not_allowed": (405, "no", "`Allow` says which methods are.")}
    for code, (status, again, meaning) in sorted(rows.items()):
        yield f"| `{code}` | {status} | {again} | {meaning} |"
    yield ""


def error_row(kind: type[MeshError]) -> tuple[str, tuple[int, str, str]]:
    """Give the code of a class of errors, with its status, whether to try again, and its meaning."""
    error = kind()
    again = "yes" if error.retryable else "no"
    return body_of(error)["error"]["code"], (response_of(error).status_code, again, error.message)


def descendants(kind: type[MeshError]) -> Iterator[type[MeshError]]:
    """Give the classes of errors that can reach a client."""
    for child in kind.__subclasses__():
        if child is not ConfigurationError and not child.__module__.startswith("tools_svc"):
            yield child
            yield from descendants(child)


def settings_lines() -> Iterator[str]:
    """Give the lines of the page of settings."""
    yield _HEAD
    for unit, settings in UNITS.items():
        prefix = settings.model_config.get("env_prefix", "")
        yield f"## {unit}\n"
        yield "| variable | default | meaning |\n|---|---|---|"
        for name, field in settings.model_fields.items():
            yield f"| `{prefix}{name.upper()}` | {default(field)} | {field.description} |"
        yield ""


def default(field: FieldInfo) -> str:
    """Write a field's default; secrets and what depends on the machine are described by the field itself."""
    value = field.default
    if field.default_factory is not None or isinstance(value, SecretStr) or value in ("", None):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


PAGES: dict[str, Callable[[], Iterator[str]]] = {"settings.md": settings_lines, "errors.md": error_lines}


if __name__ == "__main__":
    sys.exit(main())
