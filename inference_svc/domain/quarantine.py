"""What a request is suspected of that was being answered when the process died, and how long it is kept away.

One that is alone in being answered while the process faults has done it. Of several any may have, so each may be
answered once more, with nobody beside it. A process that was merely killed says little, until that happens again.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.conversation import Media, Part, Role, Text

KEPT_SECONDS = 15 * 60.0
_SAMPLE_BYTES = 65_536
_KILLED, _FAULTED, _GUILTY = 1, 2, 3

Fingerprint = str
Asked = Prompt | Conversation | Sequence[str] | Sequence[int] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """What is held against a request, up to a time in seconds since 1970."""

    strikes: int
    until: float

    @property
    def quarantined(self) -> bool:
        """Whether it must not be answered."""
        return self.strikes >= _GUILTY

    @property
    def alone(self) -> bool:
        """Whether nobody else may be answered beside it."""
        return self.strikes >= _FAULTED


Suspicions = Mapping[Fingerprint, Suspicion]


def after_death(known: Suspicions, in_flight: Sequence[Fingerprint], *, faulted: bool, now: float) -> Suspicions:
    """Give the suspicions once a process has died with these requests in flight; `faulted` if it was not just killed.

    Those that are over are forgotten.
    """
    strikes = _KILLED if not faulted else _FAULTED if len(in_flight) > 1 else _GUILTY
    suspicions = {each: suspicion for each, suspicion in known.items() if suspicion.until > now}
    for each in in_flight:
        before = suspicions.get(each, Suspicion(strikes=0, until=now))
        suspicions[each] = replace(before, strikes=before.strikes + strikes, until=now + KEPT_SECONDS)
    return suspicions


def fingerprint_of(model: str, asked: Asked) -> Fingerprint:
    """Give 32 hexadecimal digits that are the same for the same request to the same model, and tell nothing of it.

    Left out is what changes when a request is tried again: its seed, what was said already, and how much may be said.
    """
    digest = hashlib.sha256(model.encode())
    for piece in _pieces(asked):
        digest.update(piece)
    return digest.hexdigest()[:32]


def _pieces(asked: Asked) -> Iterator[bytes]:
    match asked:
        case Prompt(conversation=conversation, sampling=sampling):
            yield from _pieces(conversation)
            form = (asked.tool_choice, asked.response_format, replace(sampling, seed=None), asked.adapter)
            yield repr(form).encode()
            if asked.raw is not None or asked.prediction:
                yield repr((asked.raw, asked.prediction)).encode()
        case Conversation(messages=messages):
            yield repr((asked.tools, asked.thinking, asked.reasoning_effort)).encode()
            for message in messages:
                yield b"\0" + message.role.encode()
                if message.role not in (Role.USER, Role.SYSTEM):
                    yield repr((message.tool_calls, message.tool_call_id, message.name)).encode()
                yield from map(_part, message.parts)
        case _:
            yield repr(asked).encode()


def _part(part: Part) -> bytes:
    """Give a part; of a large image its beginning and its end."""
    match part:
        case Text(text=text):
            return text.encode()
        case Media(data=data):
            return b"%d %b %b" % (len(data), data[:_SAMPLE_BYTES], data[-_SAMPLE_BYTES:])
        case _:
            return repr(part).encode()
