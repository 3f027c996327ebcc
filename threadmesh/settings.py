"""What the settings of all units share. A unit's settings come from the environment and are read once, at its start."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from threadmesh.errors import MeshError
from threadmesh.links.link import ClientLink, ServerLink, TlsFiles
from threadmesh.loopback import is_loopback
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
    link_certificate: Path | None = Field(
        default=None,
        description="PEM file of this unit's certificate for links between units; a new one is taken without a "
        "restart. [docs/security.md](security.md#service-links) says more.",
    )
    link_key: Path | None = Field(default=None, description="PEM file of that certificate's key.")
    link_ca: Path | None = Field(
        default=None, description="PEM file of the authorities whose certificates are trusted at the other end."
    )
    link_insecure: bool = Field(
        default=False, description="Lets links leave this machine without protection; the log warns of it."
    )

    @field_validator("link_certificate", "link_key", "link_ca", mode="before")
    @classmethod
    def _empty_is_no_file(cls, value: Any) -> Any:
        return None if value == "" else value

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.link_certificate is None) != (self.link_key is None):
            raise ValueError(f"{self._prefix()}LINK_CERTIFICATE and {self._prefix()}LINK_KEY go together")
        return self

    @classmethod
    def _prefix(cls) -> str:
        return str(cls.model_config.get("env_prefix", ""))

    def _link_files(self) -> TlsFiles:
        return TlsFiles(certificate=self.link_certificate, key=self.link_key, authorities=self.link_ca)

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


class CallerSettings(ProcessSettings):
    """Settings of a process that calls units."""

    link_token: SecretStr = Field(
        default=SecretStr(""), description="Bearer token that is sent to units which know their callers by tokens."
    )
    link_token_file: Path | None = Field(
        default=None, description="File that holds that token instead; a new one is taken without a restart."
    )

    @field_validator("link_token_file", mode="before")
    @classmethod
    def _empty_is_no_token_file(cls, value: Any) -> Any:
        return None if value == "" else value

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.link_token.get_secret_value() and self.link_token_file:
            raise ValueError(f"set {self._prefix()}LINK_TOKEN or {self._prefix()}LINK_TOKEN_FILE, not both")
        return self

    def client_link(self) -> ClientLink:
        """Give how calls to units are secured."""
        return ClientLink(
            files=self._link_files(),
            token=self.link_token.get_secret_value(),
            token_file=self.link_token_file,
            insecure=self.link_insecure,
            settings=self._prefix(),
        )


class UnitSettings(ProcessSettings):
    """Settings of a unit that serves gRPC."""

    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of `/metrics` and `/readyz`; 0 takes a free one."
    )
    reflection: bool = Field(default=True, description="Lets grpcurl ask which services there are.")
    link_tokens_file: Path | None = Field(
        default=None,
        description="File of the bearer tokens by which callers are known, instead of certificates: lines of "
        "`<member> <token>`.",
    )

    @field_validator("link_tokens_file", mode="before")
    @classmethod
    def _empty_is_no_tokens_file(cls, value: Any) -> Any:
        return None if value == "" else value

    def server_link(self) -> ServerLink:
        """Give how this unit secures what it serves.

        Raises `ConfigurationError` where callers would not be known, or would be known over a link that anybody reads.
        """
        self._require_known_callers()
        if not (self.link_certificate or self.link_insecure or is_loopback(self.listen.strip("[]"))):
            prefix = self._prefix()
            raise ConfigurationError(
                f"{prefix}LISTEN: beyond loopback, {prefix}LINK_CERTIFICATE, {prefix}LINK_KEY and {prefix}LINK_CA must "
                f"be set (`threadmesh certs create` makes them); {prefix}LINK_INSECURE=true lets everybody in"
            )
        return ServerLink(
            files=self._link_files(),
            tokens_file=self.link_tokens_file,
            insecure=self.link_insecure,
            settings=self._prefix(),
        )

    def _require_known_callers(self) -> None:
        prefix = self._prefix()
        if self.link_ca and self.link_tokens_file:
            raise ConfigurationError(
                f"{prefix}LINK_CA: callers are known by certificates or by tokens; unset it or {prefix}LINK_TOKENS_FILE"
            )
        if self.link_ca and not self.link_certificate:
            raise ConfigurationError(f"{prefix}LINK_CERTIFICATE must be set with {prefix}LINK_CA")
        if self.link_certificate and not (self.link_ca or self.link_tokens_file):
            raise ConfigurationError(
                f"{prefix}LINK_CA, or {prefix}LINK_TOKENS_FILE, must be set with {prefix}LINK_CERTIFICATE: "
                "otherwise everybody may call"
            )


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
