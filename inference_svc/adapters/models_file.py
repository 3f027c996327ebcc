"""The models file: the models of one server, in TOML, read strictly.

    [models.assistant]                     # the first model is the default one
    path = "qwen2.5-7b-instruct-q4_k_m.gguf"
    context_tokens = 8192

    [models.assistant.adapters.pirate]     # asked for as model `pirate`
    path = "pirate-lora.gguf"

    [models.embedder]
    path = "hf:owner/repository/file.gguf"
    keep_seconds = 600

Relative paths begin at the file's directory; `bundled` is the model that is installed with the mesh.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from inference_svc.adapters.llama_cpp.options import AdapterFile
from inference_svc.adapters.model_files import SHA256, ModelFile, complaint_about, find_model
from threadmesh.settings import ConfigurationError
from threadmesh.toml_lines import line_of_error, located, reason_of

BUNDLED = "bundled"
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,256}")
_LARGEST_FILE = 1024 * 1024
_LONGEST_KEEPING = 365 * 24 * 3600.0

Place = tuple[str, ...]
Complaint = tuple[Place, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredModel:
    """A model to serve.

    `kind` is empty where the model's file says it. A `lazy` model is loaded by its first request. `keep_seconds` is how
    long an unused model stays in memory, 0 for ever. `overrides` are the settings that hold for this model alone;
    `rope_override` lets its context be longer than it was trained for. `bundled` is the model that the mesh brings.
    """

    name: str
    file: ModelFile
    bundled: bool = False
    kind: str = ""
    lazy: bool = False
    keep_seconds: float = 0.0
    rope_override: bool = False
    adapters: tuple[AdapterFile, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Adapter(_Strict):
    path: str = Field(min_length=1)
    scale: float = Field(default=1.0, ge=-100, le=100)


class _Model(_Strict):
    path: str = Field(min_length=1)
    kind: Literal["chat", "embedding"] | None = None
    load: Literal["start", "lazy"] | None = None
    keep_seconds: float = Field(default=0.0, ge=0, le=_LONGEST_KEEPING)
    rope_override: bool = False
    sha256: str = Field(default="", pattern=SHA256)
    adapters: dict[str, _Adapter] = Field(default_factory=dict)


def read_models(path: Path, *, models_dir: Path, overridable: Mapping[str, FieldInfo]) -> tuple[ConfiguredModel, ...]:
    """Read the models, in the order of the file; `overridable` are the settings that a model may set for itself.

    Raises `ConfigurationError` with a line `file:line: key: reason` for everything that is wrong in it.
    """
    text = _text(path)
    fields: dict[str, Any] = {name: (each.annotation, each) for name, each in overridable.items()}
    form = create_model("_Model", __base__=_Model, **fields)
    document = _document(path, text)
    complaints = [*_complaints(document, form)]
    if not complaints:
        complaints = [*_name_complaints(document["models"]), *_file_complaints(document["models"], path.parent)]
    if complaints:
        raise ConfigurationError("\n".join(f"{located(path, text, place)}: {why}" for place, why in complaints))
    models = {name: form.model_validate(raw) for name, raw in document["models"].items()}
    first = next(iter(models))
    return tuple(
        _configured(
            name,
            entry,
            first=name == first,
            directory=path.parent,
            models_dir=models_dir,
            place=located(path, text, ("models", name, "path")),
        )
        for name, entry in models.items()
    )


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}:1: file: it cannot be read as UTF-8 text") from error
    if len(text) > _LARGEST_FILE:
        raise ConfigurationError(f"{path}:1: file: it is longer than {_LARGEST_FILE} characters")
    return text


def _document(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}{line_of_error(error) or ':1'}: file: {error}") from error


def _complaints(document: dict[str, Any], form: type[_Model]) -> Iterator[Complaint]:
    models = document.get("models")
    yield from (((key,), "no such key; there is [models.<name>]") for key in document if key != "models")
    if not isinstance(models, dict) or not models:
        yield ("models",), "the file must hold at least one table [models.<name>]"
        return
    for name, raw in models.items():
        try:
            form.model_validate(raw)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                yield ("models", name, *map(str, each["loc"])), reason_of(each["type"], each["msg"])


def _name_complaints(models: Mapping[str, Any]) -> Iterator[Complaint]:
    """Complain about names that cannot be asked for, or that somebody would take for another."""
    taken: dict[str, str] = {}
    for place in _named(models):
        name = place[-1]
        if not _NAME.fullmatch(name):
            yield place, "a name is made of letters, digits and . _ : / -, at most 256"
        if name.casefold() in taken:
            yield place, f"its name is too much like that of {taken[name.casefold()]}"
        taken.setdefault(name.casefold(), ".".join(place))


def _named(models: Mapping[str, Any]) -> Iterator[Place]:
    for model, raw in models.items():
        yield ("models", model)
        yield from (("models", model, "adapters", adapter) for adapter in raw.get("adapters", {}))


def _file_complaints(models: Mapping[str, Any], directory: Path) -> Iterator[Complaint]:
    for model, raw in models.items():
        for adapter, given in raw.get("adapters", {}).items():
            if complaint := complaint_about(directory / Path(given["path"]).expanduser()):
                yield ("models", model, "adapters", adapter, "path"), complaint


def _configured(
    name: str, entry: _Model, *, first: bool, directory: Path, models_dir: Path, place: str
) -> ConfiguredModel:
    bundled = entry.path == BUNDLED
    file = find_model("" if bundled else entry.path, models_dir=models_dir, directory=directory, setting=place)
    return ConfiguredModel(
        name=name,
        file=replace(file, sha256=entry.sha256),
        bundled=bundled,
        kind=entry.kind or "",
        lazy=(entry.load or ("start" if first else "lazy")) == "lazy",
        keep_seconds=entry.keep_seconds,
        rope_override=entry.rope_override,
        adapters=tuple(
            AdapterFile(name=adapter, path=directory / Path(each.path).expanduser(), scale=each.scale)
            for adapter, each in entry.adapters.items()
        ),
        overrides=entry.model_dump(exclude_unset=True, exclude=set(_Model.model_fields)),
    )
