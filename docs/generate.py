"""Write `docs/settings.md` from the settings classes, so that it cannot fall behind them.

python docs/generate.py             write
python docs/generate.py --check     exit 1 when the committed file is not what the classes say
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from context_svc.settings import ContextSettings
from facade.settings import FacadeSettings
from inference_svc.settings import InferenceSettings
from threadmesh.settings import ProcessSettings
from tools_svc.settings import ToolsSettings

PAGE = Path(__file__).with_name("settings.md")
UNITS: dict[str, type[ProcessSettings]] = {
    "inference_svc": InferenceSettings,
    "tools_svc": ToolsSettings,
    "context_svc": ContextSettings,
    "facade": FacadeSettings,
}
_HEAD = """# Settings

Written by `docs/generate.py` from the settings classes. Each setting is an environment variable of its process. With
`threadmesh up --config FILE` the same settings stand in a TOML file, without the prefix and in lower case, under the
name of the unit: `FACADE_PORT` is `port` under `[facade]`. A name that means nothing is refused at the start.
"""


def main() -> int:
    """Write the page, or with `--check` compare it; returns the exit status."""
    page = "\n".join(lines())
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
        return 0
    if PAGE.exists() and PAGE.read_text() == page:
        return 0
    print("docs/settings.md is not what the settings say; run `python docs/generate.py`", file=sys.stderr)
    return 1


def lines() -> Iterator[str]:
    """Give the page's lines."""
    yield _HEAD
    for unit, settings in UNITS.items():
        prefix = settings.model_config.get("env_prefix", "")
        yield f"## {unit}\n"
        yield "| variable | default | meaning |\n|---|---|---|"
        for name, field in settings.model_fields.items():
            yield f"| `{prefix}{name.upper()}` | {default(field)} | {field.description} |"
        yield ""


def default(field: FieldInfo) -> str:
    """Write a field's default; secrets and what depends on the machine are described by the field itself."""
    value = field.default
    if field.default_factory is not None or isinstance(value, SecretStr) or value in ("", None):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.exit(main())
