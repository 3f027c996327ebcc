"""How a request wishes its tokens to be drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Dry:
    """Makes a token rarer that would go on repeating what stands in the last `penalty_last_n` tokens already.

    From the `allowed_length`-th repeated token on, `multiplier * base ** more` is taken from its logit. Repetitions do
    not reach over a sequence breaker. The defaults are llama.cpp's; github.com/oobabooga/text-generation-webui#5677.
    """

    multiplier: float
    base: float = 1.75
    allowed_length: int = 2
    penalty_last_n: int = 64
    sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirostat:
    """Keeps the surprise of the tokens near `tau` bits, learning at the rate `eta`; `mode` 1 or 2 is its version.

    The defaults are llama.cpp's; arxiv.org/abs/2007.14966.
    """

    mode: int
    tau: float = 5.0
    eta: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Xtc:
    """Leaves out, with this probability, all but the least likely of the tokens that reach the threshold.

    github.com/oobabooga/text-generation-webui#6335.
    """

    probability: float
    threshold: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """A request's wishes; None means the model's default. `logit_bias` is added to the logits of single token ids."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    typical_p: float | None = None
    repeat_last_n: int | None = None
    dry: Dry | None = None
    mirostat: Mirostat | None = None
    ignore_eos: bool = False
    xtc: Xtc | None = None
    top_n_sigma: float | None = None
