"""How tokens are drawn: what a request may say, what holds where it says nothing, and how chance is made repeatable."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from threadmesh.errors import InvalidArgument
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How the tokens of one generation are drawn; the defaults are llama.cpp's own.

    A temperature of 0 is greedy: whatever only narrows the choice has no effect then, nor has `mirostat`. With
    `mirostat`, what narrows the choice otherwise (`top_n_sigma` to `xtc`) has none. With `ignore_eos` the tokens that
    end an answer are never drawn. Penalties look at the last `repeat_last_n` tokens of the answer.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    typical_p: float = 1.0
    repeat_last_n: int = 64
    dry: Dry | None = None
    mirostat: Mirostat | None = None
    ignore_eos: bool = False
    xtc: Xtc | None = None
    top_n_sigma: float = 0.0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def penalises(self) -> bool:
        """Whether tokens that were said already are made rarer."""
        return bool(self.presence_penalty or self.frequency_penalty) or self.repeat_penalty != 1


Ranges = Mapping[str, tuple[float, float]]

_RANGES: Ranges = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 1_000_000),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "repeat_penalty": (0.01, 2),
    "typical_p": (0, 1),
    "repeat_last_n": (0, 8_192),
    "top_n_sigma": (0, 100),
}
_DRY_RANGES: Ranges = {
    "multiplier": (0, 100),
    "base": (1, 100),
    "allowed_length": (0, 8_192),
    "penalty_last_n": (0, 8_192),
}
_MIROSTAT_RANGES: Ranges = {"mode": (1, 2), "tau": (0, 10), "eta": (0, 1)}
_XTC_RANGES: Ranges = {"probability": (0, 1), "threshold": (0, 1)}
_MAX_BREAKERS = 8
_MAX_BREAKER_BYTES = 40


def resolve(wishes: Sampling, *, defaults: Drawing, choose_seed: Callable[[], int]) -> Drawing:
    """Fill what a request leaves open. Raises `InvalidArgument` for what is out of range, NaN included."""
    _require_all(wishes)
    said = {name: value for name in _RANGES if (value := getattr(wishes, name)) is not None}
    parts = {name: part for name in ("dry", "mirostat", "xtc") if (part := getattr(wishes, name)) is not None}
    return replace(
        defaults,
        **said,
        **parts,
        seed=choose_seed() if wishes.seed is None else wishes.seed,
        logit_bias=dict(wishes.logit_bias),
        ignore_eos=wishes.ignore_eos,
    )


def _require_all(wishes: Sampling) -> None:
    _require_within(wishes, _RANGES)
    for token, bias in wishes.logit_bias.items():
        _require(f"logit_bias[{token}]", bias, -100, 100)
    _require_within(wishes.dry, _DRY_RANGES, "dry.")
    _require_within(wishes.mirostat, _MIROSTAT_RANGES, "mirostat.")
    _require_within(wishes.xtc, _XTC_RANGES, "xtc.")
    if wishes.dry is not None:
        _require_breakers(wishes.dry.sequence_breakers)


def _require_within(values: object, ranges: Ranges, prefix: str = "") -> None:
    for name, (least, most) in ranges.items():
        if (value := getattr(values, name, None)) is not None:
            _require(prefix + name, value, least, most)


def _require(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise InvalidArgument(f"{name} must be between {least:g} and {most:g}.", field=f"sampling.{name}")


def _require_breakers(breakers: tuple[str, ...]) -> None:
    """Refuse what llama.cpp would cut short or skip, and so many that looking for them takes long."""
    sizes = [len(breaker.encode(errors="replace")) for breaker in breakers]
    if (
        len(sizes) > _MAX_BREAKERS
        or any(not 1 <= size <= _MAX_BREAKER_BYTES for size in sizes)
        or "\0" in "".join(breakers)
    ):
        raise InvalidArgument(
            f"dry.sequence_breakers are at most {_MAX_BREAKERS} texts of 1 to {_MAX_BREAKER_BYTES} bytes without NUL.",
            field="sampling.dry.sequence_breakers",
        )


def draw_seed(seed: int, position: int) -> int:
    """Give 32 bits of chance for the token at `position`: the same for the same seed, wherever the drawing began.

    A generator with a state would have to be moved along when another server continues a stream; a counter need not.
    The mixing is SplitMix64's (Steele, Lea, Flood 2014). 2^32-1 never comes: llama.cpp would choose a seed of its own.
    """
    mixed = (seed + (position + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 31)) >> 32) % 0xFFFFFFFF
