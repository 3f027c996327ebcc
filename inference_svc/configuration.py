"""What the settings mean: the models to serve, and how each of them is served."""

from dataclasses import replace
from pathlib import Path

from inference_svc.adapters.llama_cpp.options import Device, ModelOptions, WeightsOptions
from inference_svc.adapters.llama_cpp.threads import available_cores
from inference_svc.adapters.model_files import find_model
from inference_svc.adapters.models_file import ConfiguredModel, read_models
from inference_svc.domain.sampling import Drawing
from inference_svc.domain.weights import Form
from inference_svc.settings import MEASURED, NO_MODEL, PER_MODEL, InferenceSettings
from threadmesh.clock import Clock
from threadmesh.settings import ConfigurationError

BUNDLED_DRAWING = Drawing(temperature=0.2, top_p=0.9, repeat_penalty=1.02)
"""What SmolLM2's authors recommend, and a penalty without which a model so small repeats itself to the end.

A larger penalty (1.1) was seen to spoil what has to be repeated: the digits of a tool's result.
"""


def configured(settings: InferenceSettings) -> tuple[ConfiguredModel, ...]:
    """Give the models to serve. Raises `ConfigurationError`."""
    if settings.models_file:
        if settings.model or settings.model_name:
            raise ConfigurationError(
                "INFERENCE_MODELS_FILE: INFERENCE_MODEL is set as well; name all models in the file"
            )
        fields = {name: InferenceSettings.model_fields[name] for name in PER_MODEL}
        return read_models(Path(settings.models_file).expanduser(), models_dir=settings.models_dir, overridable=fields)
    if settings.model == NO_MODEL:
        return ()
    file = replace(find_model(settings.model, models_dir=settings.models_dir), sha256=settings.model_sha256)
    return (ConfiguredModel(name=settings.model_name or file.name, file=file, bundled=not settings.model),)


def options_of(settings: InferenceSettings, model: ConfiguredModel, clock: Clock) -> ModelOptions:
    """Say how a model is served, given the settings that hold for it."""
    return ModelOptions(
        name=model.name,
        threads=settings.threads or available_cores(),
        pinned=settings.threads > 0,
        created=int(clock.now().timestamp()),
        context_tokens=settings.context_tokens,
        cells=settings.cache_tokens,
        sequences=settings.sequences,
        queue=settings.queue,
        batch=settings.batch_tokens,
        grammar_seconds=settings.grammar_ms / 1000,
        idle=settings.idle_tokens,
        parked=settings.parked_bytes,
        speculation=settings.speculation,
        device=device(settings),
        projector=projector(settings),
        template=chat_template(settings),
        weights=weights(settings),
        drawing=drawing(settings, bundled=model.bundled),
        adapters=model.adapters,
        rope_override=model.rope_override,
    )


def device(settings: InferenceSettings) -> Device:
    """Give where and how models compute."""
    return Device(
        gpu_layers=settings.gpu_layers,
        split_mode=settings.split_mode,
        main_gpu=settings.main_gpu,
        tensor_split=tuple(settings.tensor_split),
        flash_attention=settings.flash_attention,
        cache_k=settings.cache_type_k,
        cache_v=settings.cache_type_v,
    )


def projector(settings: InferenceSettings) -> Path | None:
    """Give the projector's file, None without one. Raises `ConfigurationError` if it is not there."""
    if not settings.projector:
        return None
    path = Path(settings.projector).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"INFERENCE_PROJECTOR: there is no file {path}")
    return path


def chat_template(settings: InferenceSettings) -> str:
    """Give the chat template to use, empty for the model's own. Raises `ConfigurationError` if it cannot be read."""
    if not settings.chat_template:
        return ""
    path = Path(settings.chat_template).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"INFERENCE_CHAT_TEMPLATE: {path} cannot be read as UTF-8 text") from error


def weights(settings: InferenceSettings) -> WeightsOptions:
    """Give how weights are held."""
    return WeightsOptions(
        form=None if settings.weights == MEASURED else Form(settings.weights),
        directory=settings.models_dir / "prepared",
        budget=settings.weights_bytes,
    )


def drawing(settings: InferenceSettings, *, bundled: bool) -> Drawing:
    """Give how tokens are drawn for requests that leave it open."""
    chosen = {name: getattr(settings, name) for name in ("temperature", "top_p", "repeat_penalty")}
    usual = BUNDLED_DRAWING if bundled else Drawing()
    return replace(usual, **{name: value for name, value in chosen.items() if value is not None})
