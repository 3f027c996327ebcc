"""Requests that are sent again: how those are known that bring no key, and which runs are no answer to them."""

import hashlib
from dataclasses import replace

from fastapi import Request

from facade.domain.events import Run, RunState
from facade.domain.records import NewRun

_RETRIES = "x-stainless-retry-count"
"""How often OpenAI's clients have sent a request before; they send no idempotency key."""


def attempted(new: NewRun, request: Request) -> NewRun:
    """Give the run with what its request can be known by, if it brings no key and its client counts its attempts."""
    count = request.headers.get(_RETRIES, "")
    if new.idempotency_key or not count.isdecimal():
        return new
    key = hashlib.sha256(f"{request.state.key}\0{new.fingerprint}".encode()).hexdigest()
    return replace(new, attempt_key=key, repetition=int(count) > 0)


def may_be_answered_anew(run: Run, new: NewRun, request: Request) -> bool:
    """Say whether the run of an earlier sending is no answer to a request, provided that no tool was called in it.

    A key stands for what was said and for what is final. It does not stand for a failure before anything was said, or
    for one that is said to be worth another try. Who says which event he has seen goes on reading that run.
    """
    failure = run.finished.failure if run.finished else None
    if run.finished is None or failure is None or request.headers.get("last-event-id"):
        return False
    if not new.idempotency_key:
        return True
    said_nothing = run.next_sequence == 1  # its log holds nothing but its end
    return run.finished.state is RunState.FAILED and (failure.retryable or said_nothing)
