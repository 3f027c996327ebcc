"""How much a tenant may store."""

from context_svc.domain.change import State
from threadmesh.errors import QuotaExceeded


def require_room(state: State, limit: int) -> None:
    """Raise `QuotaExceeded` where the tenant of a measured scope has stored `limit` bytes; 0 is no limit."""
    if limit and state.stored >= limit:
        raise QuotaExceeded(
            f"{state.stored} bytes are stored, of {limit} that may be; delete threads that are no longer needed, or "
            "prune them.",
            stored_bytes=state.stored,
            limit_bytes=limit,
        )
