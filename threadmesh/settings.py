"""What the settings of all units share. A unit's settings come from the environment and are read once, at its start."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from threadmesh.errors import MeshError
from threadmesh.telemetry.logs import hide


class ConfigurationError(MeshError):
    """The configuration is wrong; nothing was started."""

    reason = "CONFIGURATION"


CONFIGURATION_EXIT_STATUS = 78
"""EX_CONFIG of sysexits.h: starting again without a change is useless."""


class ProcessSettings(BaseSettings):
    """Settings of every process of the mesh; each sets its own prefix and defaults."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_nested_delimiter="__")

    listen: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, ge=0, le=65535, description="Port to serve; 0 takes a free one.")
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="Least severity that is logged."
    )
    drain_seconds: float = Field(
        default=5.0, ge=0, le=600, description="Time that running requests get to end after SIGTERM."
    )

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings, refusing variables with this unit's prefix that mean nothing.

        Raises `ConfigurationError` with one line for each thing that is wrong; values are never repeated.
        """
        prefix = cls.model_config.get("env_prefix", "")
        wrong = [f"{name}: no such setting" for name in unknown_variables(cls, environment)]
        try:
            settings = cls()
        except ValidationError as error:
            for each in error.errors(include_input=False, include_url=False):
                name = prefix + "__".join(str(part) for part in each["loc"]).upper() if each["loc"] else ""
                wrong.append(f"{name}: {each['msg']}" if name else each["msg"].removeprefix("Value error, "))
            raise ConfigurationError("\n".join(wrong)) from None
        if wrong:
            raise ConfigurationError("\n".join(wrong))
        hide(*settings.secrets())
        return settings

    def secrets(self) -> list[str]:
        """Give every secret among the settings, each of several by itself."""
        values = (getattr(self, name) for name in type(self).model_fields)
        texts = (value.get_secret_value() for value in values if isinstance(value, SecretStr))
        return [part.strip() for text in texts for part in (text, *text.split(","))]

    def effective(self) -> dict[str, Any]:
        """Give every setting as it is in force, secrets masked."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: "***" if isinstance(value, SecretStr) and value else _plain(value) for name, value in values}


class UnitSettings(ProcessSettings):
    """Settings of a unit that serves gRPC."""

    metrics_port: int = Field(default=0, ge=0, le=65535, description="Port of `/metrics`; 0 takes a free one.")
    reflection: bool = Field(default=True, description="Lets grpcurl ask which services there are.")


def data_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Give the directory that holds the mesh's state: `THREADMESH_DATA_DIR`, else the user's data directory."""
    if chosen := environment.get("THREADMESH_DATA_DIR"):
        return Path(chosen).expanduser()
    base = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "threadmesh"


def unknown_variables(settings: type[ProcessSettings], environment: Mapping[str, str]) -> Iterator[str]:
    """Name the variables that begin with the settings' prefix but set nothing."""
    prefix = settings.model_config.get("env_prefix", "").upper()
    known = {prefix + name.upper() for name in settings.model_fields}
    for variable in sorted(environment):
        name = variable.upper()
        if name.startswith(prefix) and name.split("__")[0] not in known and not _kubernetes(name):
            yield variable


def _kubernetes(name: str) -> bool:
    """Kubernetes describes every service of the namespace in variables such as TOOLS_PORT_50052_TCP."""
    return name.endswith(("_SERVICE_HOST", "_SERVICE_PORT")) or "_SERVICE_PORT_" in name or "_TCP" in name


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
