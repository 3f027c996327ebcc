"""When keys were last used: a file beside that of the keys, `keys.toml.used`, written by facades and read by people.

It is no part of the keys: whoever may use one is decided without it, and it may be deleted at any time.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from threadmesh.keys.writing import alone, replace


def uses_file(keys_file: Path) -> Path:
    """Give the file in which the uses of a keys file's keys stand."""
    return keys_file.with_name(f"{keys_file.name}.used")


def read_uses(keys_file: Path) -> dict[str, datetime]:
    """Give when keys were last used, by their ids; what is not there or cannot be read is not known."""
    try:
        read = json.loads(uses_file(keys_file).read_text(encoding="utf-8"))
        return {str(key_id): datetime.fromisoformat(moment).astimezone(UTC) for key_id, moment in read.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def note_uses(keys_file: Path, uses: Mapping[str, datetime]) -> None:
    """Write down uses; of those that several processes know, the latest stands. Raises `OSError`."""
    with alone(keys_file.parent):
        latest = read_uses(keys_file)
        for key_id, moment in uses.items():
            latest[key_id] = max(moment, latest.get(key_id, moment))
        lines = {key_id: moment.isoformat(timespec="seconds") for key_id, moment in sorted(latest.items())}
        replace(uses_file(keys_file), json.dumps(lines, indent=0) + "\n")
