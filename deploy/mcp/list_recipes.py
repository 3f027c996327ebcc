"""Installs the server of each ready file and prints what it offers: `list_recipes.py [directory] [file...]`.

Run from the root of the repository; servers are installed below the directory, `.build/recipes` without one, as the
README's table says. Nothing is called, so no account is needed: where a file wants a secret, any text is one.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
EFFECTS = ("read_only", "idempotent", "keyed", "unsafe")
_ROW = re.compile(r"^\| `(?P<name>[\w-]+)\.json` .*\| `(?P<tool>pip|npm) install (?:--global )?(?P<package>[^` ]+)` \|")
_SECRET = re.compile(r"\$\{env:(\w+)\}")
_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A ready file, and what installs its server: `pip` or `npm`, and the package with its version."""

    name: str
    installer: str
    package: str

    @property
    def text(self) -> str:
        """What the file says."""
        return (HERE / f"{self.name}.json").read_text()


def recipes(table: str) -> Iterator[Recipe]:
    """Give the recipes of the README's table whose servers come from a registry."""
    for line in table.splitlines():
        if row := _ROW.match(line):
            yield Recipe(name=row["name"], installer=row["tool"], package=row["package"])


def stale(recipe: Recipe, listed: list[tuple[str, str]]) -> list[str]:
    """Give the tools to which the file gives an effect and which the server does not offer."""
    offered = {name.partition("__")[2] for _, name in listed}
    effects = re.search(r'"effects":\s*\{(.*?)\}', recipe.text, re.DOTALL)
    named = re.findall(r'"([^"]+)":\s*"', effects[1]) if effects else []
    return [name for name in named if re.sub(r"[^a-zA-Z0-9_-]", "_", name) not in offered]


def _install(recipe: Recipe, home: Path) -> Path:
    """Install the server, unless it is there; gives the directory of its programs."""
    if recipe.installer == "npm":
        programs = home / "node_modules" / ".bin"
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), recipe.package)
        return programs
    if not (home / "bin" / "pip").exists():
        _run(sys.executable, "-m", "venv", str(home))
    _run(str(home / "bin" / "pip"), "--quiet", "install", recipe.package)
    return home / "bin"


def _listed(recipe: Recipe, programs: Path, home: Path) -> list[tuple[str, str]]:
    """Give effect and name of each tool that the recipe's server offers."""
    place = home / "srv"
    (place / "files").mkdir(parents=True, exist_ok=True)
    file = home / f"{recipe.name}.json"
    file.write_text(recipe.text.replace('"/srv/', f'"{place}/'))
    secrets = dict.fromkeys(_SECRET.findall(recipe.text), "none")
    environment = {**os.environ, **secrets, "PATH": f"{programs.absolute()}:{os.environ['PATH']}"}
    environment["TOOLS_STATE_DIR"] = str(home / "state")
    lines = _run(sys.executable, str(HERE / "list_tools.py"), str(file), env=environment).splitlines()
    rows = [line.split() for line in lines]
    return [(row[0], row[1]) for row in rows if len(row) == 2 and row[0] in EFFECTS]


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS, env=env)
    if ended.returncode:
        raise RuntimeError((ended.stderr or ended.stdout).strip().splitlines()[-1:] or command[0])
    return ended.stdout


def _row(recipe: Recipe, root: Path) -> str:
    home = root / recipe.name
    try:
        listed = _listed(recipe, _install(recipe, home), home)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return f"{recipe.name:<16} could not be listed: {str(error)[:160]}"
    counts = Counter(effect for effect, _ in listed)
    numbers = "".join(f"{counts[effect]:>12}" for effect in EFFECTS)
    gone = stale(recipe, listed)
    note = f"  no longer offered: {', '.join(gone)}" if gone else ""
    return f"{recipe.name:<16}{len(listed):>6}{numbers}{note}"


def main(arguments: list[str]) -> None:
    """Print a row for each recipe."""
    root = Path(arguments[0] if arguments else ".build/recipes").absolute()
    wanted = arguments[1:]
    sys.stdout.write(f"{'recipe':<16}{'tools':>6}{''.join(f'{effect:>12}' for effect in EFFECTS)}\n")
    for recipe in recipes((HERE / "README.md").read_text()):
        if shutil.which(recipe.installer) and (not wanted or recipe.name in wanted):
            sys.stdout.write(_row(recipe, root) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
