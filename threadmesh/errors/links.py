"""Errors of the links between units."""

from threadmesh.errors.kinds import Code, MeshError, Unauthenticated, Unreachable


class CallerUnknown(Unauthenticated):
    """This unit does not know who is calling."""

    reason = "CALLER_UNKNOWN"


class MethodRefused(MeshError):
    """This caller may not call this method."""

    code = Code.PERMISSION_DENIED
    reason = "METHOD_REFUSED"


class LinkUntrusted(Unreachable):
    """A service shows a certificate that its caller does not trust; the log says why."""

    reason = "LINK_UNTRUSTED"
