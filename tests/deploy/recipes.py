"""The ready servers files."""

import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parents[2] / "deploy" / "mcp"
RECIPES = sorted(path.stem for path in DIRECTORY.glob("*.json"))


def recipe(name: str) -> dict[str, Any]:
    """Give a servers file as it is written."""
    written: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text())
    return written
