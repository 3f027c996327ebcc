"""Requests that stock clients send again by themselves, and how they are known again."""

import hashlib
from dataclasses import replace

from fastapi import Request

from facade.domain.records import NewRun

_RETRIES = "x-stainless-retry-count"
"""How often OpenAI's clients have sent a request before; they send no idempotency key."""


def attempted(new: NewRun, request: Request) -> NewRun:
    """Give the run with what its request can be known by, if it brings no key and its client counts its attempts."""
    count = request.headers.get(_RETRIES, "")
    if new.idempotency_key or not count.isdecimal():
        return new
    named = "" if new.parameters.stored_messages else new.thread_key  # the key of what is stored is made up each time
    parts = (request.state.key, new.fingerprint, new.thread_id, named)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return replace(new, attempt_key=key, repetition=int(count) > 0)
