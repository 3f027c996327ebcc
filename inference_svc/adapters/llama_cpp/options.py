"""How a model is served, and who watches."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from inference_svc.domain.sampling import Drawing
from inference_svc.domain.speculation import Speculation
from inference_svc.domain.weights import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where and how a model computes, in llama.cpp's own words; see its `llama_model_params`, `llama_context_params`.

    `gpu_layers` are put on a GPU (-1: all). `split_mode` is `none`, `layer` or `row`; `flash_attention` is `auto`, `on`
    or `off`; `cache_k` and `cache_v` are ggml's names of types, in lower case.
    """

    gpu_layers: int = 0
    split_mode: str = "layer"
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()
    flash_attention: str = "auto"
    cache_k: str = "f16"
    cache_v: str = "f16"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOptions:
    """How weights are held.

    `form` None measures which is best, where their copy takes at most `budget` bytes (0 chooses by the memory there
    is). Copies, and what was measured, are kept in `directory`.
    """

    form: Form | None
    directory: Path
    budget: int = 0


AS_IN_THE_FILE = WeightsOptions(form=Form.FILE, directory=Path())


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFile:
    """A LoRA adapter: the name it is asked for by, its GGUF file, and how strongly it is applied."""

    name: str
    path: Path
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How one model is served.

    `context_tokens` bounds prompt and answer together, `cells` the KV cache of all requests together; 0 chooses both
    by the model. `sequences` requests are answered at once and `queue` may wait. Up to `threads` threads compute, fewer
    where that turns out to be faster, unless the number is `pinned`. Finished conversations may keep `idle` tokens of
    the KV cache and `parked` bytes of host memory. With a `projector` the model sees or hears; `adapters` are loaded
    with it. A `template` is used instead of the model's own chat template. With `rope_override` the context may be
    longer than the model was trained for. `grammar_seconds` of processor time may be spent to compile a grammar.
    `created` is in seconds since 1970.
    """

    name: str
    threads: int
    created: int
    pinned: bool = False
    context_tokens: int = 0
    cells: int = 0
    sequences: int = 16
    queue: int = 32
    batch: int = 512
    idle: int = 0
    parked: int = 1 << 30
    speculation: Speculation = Speculation.AUTO
    device: Device = field(default_factory=Device)
    projector: Path | None = None
    template: str = ""
    weights: WeightsOptions = AS_IN_THE_FILE
    grammar_seconds: float = 0.25
    drawing: Drawing = field(default_factory=Drawing)
    adapters: tuple[AdapterFile, ...] = ()
    rope_override: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """The size of a context.

    KV `cells` shared by all sequences, sequence numbers (`slots`), tokens a step (`batch`), places of a step whose
    logits are kept (`rows`), compute threads.
    """

    cells: int
    slots: int
    rows: int
    batch: int
    threads: int
    device: Device = field(default_factory=Device)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """The size of a KV cache.

    `slots` sequence numbers share `cells` tokens. Finished conversations keep at most `idle` of them while others need
    the context, because every cell slows every step down; the others are parked, up to `parked` bytes of host memory.
    Caches that are not `cuttable` can only be continued where they end.
    """

    slots: int
    cells: int
    idle: int
    parked: int
    cuttable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How much the engine does at once.

    `queue` requests may wait beside the `sequences` that run. A step reads prompts for about `prefill_seconds`, or
    for about `beside_seconds` while others are being answered; then it has at most `mixed` tokens in all. Speculation
    may add up to `guesses` tokens to a step.
    """

    sequences: int
    batch: int
    queue: int
    threads: tuple[int, ...]
    cache: CacheOptions
    mixed: int
    speculation: Speculation = Speculation.OFF
    guesses: int = 16
    prefill_seconds: float = 0.25
    beside_seconds: float = 0.05


class Observer(Protocol):
    """Watches the engine; called from its thread."""

    def occupied(self, *, running: int, waiting: int, parked: int) -> None:
        """Tell how many requests run and wait, and how many bytes parked conversations take."""
        ...

    def stepped(self, *, seconds: float, threads: int) -> None:
        """Tell how long a step took, and how many threads computed it."""
        ...

    def forced(self) -> None:
        """Tell of a token that needed no drawing."""
        ...

    def guessed(self, *, proposed: int, accepted: int) -> None:
        """Tell how many tokens were guessed and how many of them came true."""
        ...

    def left(self, *, phase: str) -> None:
        """Tell that a request left early, in which phase."""
        ...
