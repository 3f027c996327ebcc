"""Makes a repeated request do nothing but learn what the first one did."""

from datetime import timedelta

from context_svc.domain.change import Receipt, State
from threadmesh.errors import IdempotencyKeyReused

RECEIPT_LIFETIME = timedelta(hours=24)


def valid_receipt(state: State, *, fingerprint: str) -> Receipt | None:
    """Give what an earlier request with this key did; None when there was none within 24 hours.

    Raises `IdempotencyKeyReused` when the earlier request was a different one.
    """
    receipt = state.receipt
    if receipt is None or receipt.expire_time <= state.now.time:
        return None
    if receipt.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return receipt
