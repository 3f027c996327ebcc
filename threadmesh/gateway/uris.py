"""The URIs of resources at the gateway: two servers may use the same for different things.

`threadmesh:<server>:<uri>` stands for a server's own URI or template of URIs. Names of servers hold no colon; nothing
is escaped, so that a template becomes the URI that the server's own would.
"""

_SCHEME = "threadmesh:"


def gateway_uri(server: str, uri: str) -> str:
    """Give the gateway's URI, or template, for a server's own."""
    return f"{_SCHEME}{server}:{uri}"


def own_uri(uri: str) -> tuple[str, str] | None:
    """Give the server and its own URI; None for what is no URI of the gateway's."""
    if not uri.startswith(_SCHEME):
        return None
    server, colon, own = uri.removeprefix(_SCHEME).partition(":")
    return (server, own) if server and colon and own else None
