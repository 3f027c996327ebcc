"""Finds secrets that are written down where their place should be named, by the name and by the look of a value.

What looks harmless passes, because a file that is refused for nothing teaches people to hide things: switches, numbers,
paths, and words beside names that only may mean a secret (`SORT_KEY`, `AUTH_TYPE`).
"""

import re
from collections.abc import Iterator, Sequence

from tools_svc.adapters.secrets import blank

_SURE = re.compile(
    r"token(?!iz)|secret|passw|passphrase|api[-_]?key|credential|authorization|cookie|bearer", re.IGNORECASE
)
_CHOSEN = re.compile(r"passw|passphrase|secret", re.IGNORECASE)
_PERHAPS = {"key", "keys", "apikey", "auth", "pat", "pass", "pwd", "sig", "signature", "jwt"}
_HARMLESS_ENDS = {
    *("algorithm", "budget", "count", "dir", "directory", "endpoint", "file", "header", "host", "id", "length"),
    *("limit", "method", "mode", "name", "path", "port", "provider", "scheme", "seconds", "size", "timeout", "ttl"),
    *("type", "uri", "url"),
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_HARMLESS = re.compile(r"(true|false|yes|no|on|off|none|null|auto|required|optional|\d{1,9})", re.IGNORECASE)
_HARMLESS_PATH = re.compile(r"(~|\.\.?)?(/[\w.@+-]+){2,}/?|[\w-]+\.(json|ya?ml|toml|pem|key|crt|txt|ini|env)")
_PLAIN_WORD = re.compile(r"[A-Za-z]+([-_.][A-Za-z]+)*")
_LONGEST_WORD = 24
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])("
    r"sk-(?=[\w-]*\d)[\w-]{12,}|[sr]k_(live|test)_\w{8,}|gh[opsur]_\w{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}"
    r"|xox[abeoprs]-[\w-]{8,}|xapp-[\w-]{8,}|(AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{20,}|ya29\.[\w-]{8,}|hf_\w{16,}"
    r"|npm_\w{16,}|dop_v1_\w{16,}|SG\.[\w-]{12,}\.[\w-]{12,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r")"
)
_SCHEME = re.compile(r"\s*(bearer|basic)\s+(?=\S*[\dA-Z=_])\S{6,}\s*", re.IGNORECASE)
_PASSWORD_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@?#]*:(?P<value>[^\s/@]+)@", re.IGNORECASE)
_PARAMETER = re.compile(r"[?&;](?P<name>[\w.\[\]-]+)=(?P<value>[^&;#\s]+)")
_ASSIGNMENT = re.compile(r"-{0,2}(?P<name>[A-Za-z][\w.-]*)[=:]\s*(?P<value>\S.*)")
_OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w.-]*)")
_GAP = "\0"
"""Stands for a placeholder: no value of the servers file holds it."""


def holds_secret(name: str, text: str) -> bool:
    """Whether a value of this name holds a secret, beside what its placeholders stand for."""
    rest = blank(text, _GAP)
    if _KNOWN.search(rest) or _SCHEME.fullmatch(rest) or address_holds_secret(rest):
        return True
    harmless = not rest.strip() or _HARMLESS.fullmatch(rest) or _HARMLESS_PATH.fullmatch(rest)
    if harmless and not _is_password(name, rest):
        return False
    if _GAP in rest:
        return _is_secret_name(name) and not _only_frames(rest)
    return _is_sure(name) or (_is_secret_name(name) and not _is_word(rest))


def address_holds_secret(text: str) -> bool:
    """Whether there is an address in a text with a password, or a secret among its parameters."""
    rest = blank(text, _GAP)
    passwords = (found["value"] for found in _PASSWORD_IN_ADDRESS.finditer(rest))
    if any(value.strip(_GAP) for value in passwords):
        return True
    if "://" not in rest:
        return False
    return any(_KNOWN.search(found["value"]) or _is_parameter(found) for found in _PARAMETER.finditer(rest))


def arguments_with_secrets(arguments: Sequence[str]) -> Iterator[int]:
    """Give the places of a program's arguments that hold secrets: `--token=...`, `--token ...`, `KEY=...`."""
    option = ""
    for place, argument in enumerate(arguments):
        # A program may take something from its environment itself, in the notation of shells.
        rest = re.sub(r"\$\{?\w+\}?", _GAP, blank(argument, _GAP))
        name, value = option, rest
        if assigned := _ASSIGNMENT.fullmatch(rest):
            name, value = assigned["name"], assigned["value"]
        following = _OPTION.fullmatch(rest)
        option = following["name"] if following else ""
        if not following and (holds_secret(name, value) or holds_secret("", rest)):
            yield place


def _is_parameter(found: re.Match[str]) -> bool:
    name, value = found["name"], found["value"]
    return _GAP not in value and _is_secret_name(name) and not _HARMLESS.fullmatch(value) and not _is_word(value)


def _is_secret_name(name: str) -> bool:
    words = _words(name)
    return not _ends_harmlessly(words) and (bool(_SURE.search(name)) or not _PERHAPS.isdisjoint(words))


def _is_sure(name: str) -> bool:
    return _SURE.search(name) is not None and not _ends_harmlessly(_words(name))


def _is_password(name: str, rest: str) -> bool:
    """Whether this is what a person may have chosen as a password, although it looks like a number or a switch."""
    return bool(rest.strip()) and _CHOSEN.search(name) is not None and _is_sure(name)


def _ends_harmlessly(words: Sequence[str]) -> bool:
    return bool(words) and words[-1] in _HARMLESS_ENDS


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _is_word(text: str) -> bool:
    return len(text) <= _LONGEST_WORD and _PLAIN_WORD.fullmatch(text) is not None


def _only_frames(rest: str) -> bool:
    """Whether there are only words around placeholders, as in `Bearer ...` or `id=...; Path=/`, and none at one."""
    touching = re.search(rf"[A-Za-z0-9]{_GAP}|{_GAP}[A-Za-z0-9]", rest)
    return not touching and all(len(word) < 4 or word.isalpha() for word in re.findall(r"\w+", rest))
