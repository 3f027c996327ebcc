"""How tokens are drawn: what a request may say, what holds where it says nothing, and how chance is made repeatable."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from threadmesh.errors import InvalidArgument
from threadmesh.sampling import Sampling

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How the tokens of one generation are drawn; the defaults are llama.cpp's own. A temperature of 0 is greedy."""

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def penalises(self) -> bool:
        """Whether tokens that were said already are made rarer."""
        return bool(self.presence_penalty or self.frequency_penalty) or self.repeat_penalty != 1


_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 1_000_000),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "repeat_penalty": (0.01, 2),
}


def resolve(wishes: Sampling, *, defaults: Drawing, choose_seed: Callable[[], int]) -> Drawing:
    """Fill what a request leaves open. Raises `InvalidArgument` for what is out of range, NaN included."""
    said = {name: value for name in _RANGES if (value := getattr(wishes, name)) is not None}
    for name, value in said.items():
        _require(name, value, *_RANGES[name])
    for token, bias in wishes.logit_bias.items():
        _require(f"logit_bias[{token}]", bias, -100, 100)
    seed = choose_seed() if wishes.seed is None else wishes.seed
    return replace(defaults, **said, seed=seed, logit_bias=dict(wishes.logit_bias))


def _require(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise InvalidArgument(f"{name} must be between {least:g} and {most:g}.", field=f"sampling.{name}")


def draw_seed(seed: int, position: int) -> int:
    """Give 32 bits of chance for the token at `position`: the same for the same seed, wherever the drawing began.

    A generator with a state would have to be moved along when another server continues a stream; a counter need not.
    The mixing is SplitMix64's (Steele, Lea, Flood 2014).
    """
    mixed = (seed + (position + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 31)) >> 32
