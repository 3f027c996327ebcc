"""What of the requests of one OpenAPI document another one answers for, and why not the rest."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from openai_description import Document, Property, Request, requests
from openai_reasons import IGNORED, IN_VAIN, REFUSED, UNDESCRIBED

Verdict = tuple[str, str]
"""What becomes of a property, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What of an endpoint's request is honoured, refused or ignored for a reason, and nothing of these.

    Of `properties` there are so many; what is ignored may also be a part of one, or some of its values.
    """

    endpoint: str
    properties: int
    honoured: tuple[str, ...]
    refused: dict[str, str]
    ignored: dict[str, str]
    missing: tuple[str, ...]


def described(theirs: Document, ours: Document) -> Iterator[Coverage]:
    """Compare the requests of OpenAI's description with those of the served document."""
    known = requests(ours, prefix="/v1")
    for name, request in requests(theirs).items():
        why = "" if name in known else _reason(REFUSED, name)
        verdicts = _verdicts(request, known[name]) if name in known else {"all of it": _refused(why)}
        told = {
            kind: {path: why for path, (verdict, why) in verdicts.items() if verdict == kind}
            for kind in ("honoured", "refused", "ignored", "missing")
        }
        yield Coverage(
            endpoint=name,
            properties=len(verdicts),
            honoured=tuple(told["honoured"]),
            refused=told["refused"],
            ignored=told["ignored"],
            missing=tuple(told["missing"]),
        )


def _verdicts(theirs: Request, ours: Request) -> dict[str, Verdict]:
    """Judge all properties, and all values that they can have; parts of what is told as a whole are left out."""
    verdicts: dict[str, Verdict] = {}
    ended: tuple[str, ...] = ()
    for path in sorted(theirs):
        if path.startswith(ended):
            continue
        known = ours.get(path, Property(open=True))
        verdicts[path] = _verdict(path, ours)
        if known.refusal or known.anything or (path not in ours and verdicts[path][0] != "honoured"):
            ended += (f"{path}.", f"{path}[")
        elif not known.open:
            others = [f"{path}={value}" for value in sorted(theirs[path].values - known.values)]
            verdicts |= {other: _refused(_reason(REFUSED, other)) for other in others}
    return verdicts


def _verdict(path: str, ours: Request) -> Verdict:
    if path in ours:
        by_name_only = ours[path].anything
        in_vain = _reason(IN_VAIN, path) or (_reason(IGNORED, path) if by_name_only else "")
        return _refused(ours[path].refusal) if ours[path].refusal else ("ignored" if in_vain else "honoured", in_vain)
    for verdict, reasons in (("refused", REFUSED), ("ignored", IGNORED), ("honoured", UNDESCRIBED)):
        if why := _reason(reasons, path):
            return verdict, why
    return "missing", ""


def _refused(why: str) -> Verdict:
    return ("refused" if why else "missing", why)


def _reason(reasons: Mapping[str, str], path: str) -> str:
    return next((why for pattern, why in reasons.items() if re.fullmatch(pattern, path)), "")
