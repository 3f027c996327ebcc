"""Where a PostgreSQL store is: a server, a database and a schema, out of the text of a setting."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from threadmesh.settings import ConfigurationError

_SCHEMA = "threadmesh"
_DEFAULTS: dict[str, str | int] = {
    "application_name": "threadmesh",
    "target_session_attrs": "read-write",  # of several hosts take the one that is no standby
    # A peer that has vanished without a word is noticed within about ten seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A schema of a database. `conninfo` may hold a password; `name` never does and is what people are shown."""

    conninfo: str
    schema: str
    name: str


def parse_address(place: str) -> Address:
    """Read a URL of libpq, with or without its `postgresql:`, that may also name a `schema` (by default `threadmesh`).

    What it leaves out is taken from libpq's environment, such as `PGPASSFILE`. Raises `ConfigurationError`.
    """
    base, _, query = place.partition("?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    schema = parameters.pop("schema", _SCHEMA)
    if not re.fullmatch("[a-z_][a-z0-9_]{0,47}", schema):
        raise ConfigurationError("CONTEXT_STORE: a schema's name is made of small letters, digits and underscores.")
    try:
        url = f"postgresql:{base}" if base.startswith("//") else base
        known = conninfo_to_dict(f"{url}?{urlencode(parameters, quote_via=quote)}" if parameters else url)
    except psycopg.ProgrammingError:  # its text repeats the address, password and all
        raise ConfigurationError(
            "CONTEXT_STORE: this is no address of PostgreSQL; write postgres://<user>@<host>/<database>."
        ) from None
    chosen = {name: str(value) for name, value in known.items() if value is not None}
    name = f"{chosen.get('host', 'the local server')}/{chosen.get('dbname', '')}"
    return Address(conninfo=make_conninfo("", **{**_DEFAULTS, **chosen}), schema=schema, name=name)
