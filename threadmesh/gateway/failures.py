"""What goes wrong, as the protocol's errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import mcp_types as types
import structlog
from mcp.shared.exceptions import MCPError

from threadmesh.errors import Internal, MeshError

log = structlog.get_logger()


@contextmanager
def as_mcp_errors() -> Iterator[None]:
    """Raise what goes wrong as the protocol's errors; a defect is logged and shows no details."""
    try:
        yield
    except MCPError:
        raise
    except MeshError as error:
        raise MCPError(types.INTERNAL_ERROR, error.message) from error
    except Exception as error:
        log.error("defect", exc_info=error)
        raise MCPError(types.INTERNAL_ERROR, Internal().message) from error
