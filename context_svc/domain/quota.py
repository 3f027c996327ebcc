"""How much a tenant may store."""

from context_svc.domain.change import State
from threadmesh.errors import InsufficientQuota


def require_room(state: State, limit: int) -> None:
    """Raise `InsufficientQuota` where the tenant of a measured scope has stored `limit` bytes; 0 is no limit."""
    if limit and state.stored >= limit:
        raise InsufficientQuota(
            f"{state.stored} bytes are stored, of {limit} that may be; delete threads that are no longer needed, or "
            "prune them.",
            stored_bytes=state.stored,
            limit_bytes=limit,
        )
