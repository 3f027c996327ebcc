"""The fields of a request that say how tokens are drawn: OpenAI's, and more in llama.cpp's and vLLM's spelling."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from facade.edge.chat.fields import Integer, Number, Schema
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc


def _token_ids(bias: dict[str, float]) -> dict[str, float]:
    if not all(key.isascii() and key.isdecimal() and int(key) < 2**31 for key in bias):
        raise ValueError("must have token ids as keys")
    return bias


LogitBias = Annotated[
    dict[str, Annotated[Number, Field(ge=-100.0, le=100.0)]], Field(max_length=1024), AfterValidator(_token_ids)
]


def _within_forty_bytes(text: str) -> str:
    if len(text.encode(errors="replace")) > 40:
        raise ValueError("must be at most 40 bytes long")
    return text


SequenceBreakers = Annotated[
    list[Annotated[str, Field(min_length=1), AfterValidator(_within_forty_bytes)]], Field(min_length=1, max_length=8)
]


class SamplingFields(Schema):
    """How tokens are drawn; absent: as the model's configuration says."""

    temperature: Number | None = Field(default=None, ge=0.0, le=2.0)
    top_p: Number | None = Field(default=None, ge=0.0, le=1.0)
    top_k: Integer | None = Field(default=None, ge=0, le=1_000_000)
    min_p: Number | None = Field(default=None, ge=0.0, le=1.0)
    presence_penalty: Number | None = Field(default=None, ge=-2.0, le=2.0)
    frequency_penalty: Number | None = Field(default=None, ge=-2.0, le=2.0)
    repeat_penalty: Number | None = Field(default=None, gt=0.0, le=2.0)
    repeat_last_n: Integer | None = Field(
        default=None, ge=0, le=8192, description="Tokens of the answer that the penalties look at. Absent: 64."
    )
    typical_p: Number | None = Field(default=None, ge=0.0, le=1.0)
    top_n_sigma: Number | None = Field(default=None, ge=0.0, le=100.0)
    xtc_probability: Number | None = Field(default=None, ge=0.0, le=1.0)
    xtc_threshold: Number | None = Field(default=None, ge=0.0, le=1.0)
    dry_multiplier: Number | None = Field(default=None, ge=0.0, le=100.0, description="0 or absent: no DRY.")
    dry_base: Number | None = Field(default=None, ge=1.0, le=100.0)
    dry_allowed_length: Integer | None = Field(default=None, ge=0, le=8192)
    dry_penalty_last_n: Integer | None = Field(
        default=None, ge=0, le=8192, description="Tokens of prompt and answer that DRY looks at. Absent: 64."
    )
    dry_sequence_breakers: SequenceBreakers | None = None
    mirostat: Integer | None = Field(
        default=None, ge=0, le=2, description="Its version, in place of what else narrows the choice. 0: none."
    )
    mirostat_tau: Number | None = Field(default=None, ge=0.0, le=10.0)
    mirostat_eta: Number | None = Field(default=None, ge=0.0, le=1.0)
    ignore_eos: bool | None = Field(default=None, description="Go on to max_tokens whatever the model wants.")
    logit_bias: LogitBias | None = None
    seed: Integer | None = Field(default=None, ge=-(2**63), lt=2**63)


def wishes(request: SamplingFields) -> Sampling:
    """Give what the fields ask for."""
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repeat_penalty=request.repeat_penalty,
        seed=request.seed,
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
        typical_p=request.typical_p,
        repeat_last_n=request.repeat_last_n,
        dry=_dry(request) if request.dry_multiplier else None,
        mirostat=_mirostat(request) if request.mirostat else None,
        ignore_eos=bool(request.ignore_eos),
        xtc=_xtc(request) if request.xtc_probability else None,
        top_n_sigma=request.top_n_sigma,
    )


def _dry(request: SamplingFields) -> Dry:
    breakers = request.dry_sequence_breakers
    asked = {
        "multiplier": request.dry_multiplier,
        "base": request.dry_base,
        "allowed_length": request.dry_allowed_length,
        "penalty_last_n": request.dry_penalty_last_n,
        "sequence_breakers": tuple(breakers) if breakers else None,
    }
    return Dry(**_given(asked))


def _mirostat(request: SamplingFields) -> Mirostat:
    return Mirostat(**_given({"mode": request.mirostat, "tau": request.mirostat_tau, "eta": request.mirostat_eta}))


def _xtc(request: SamplingFields) -> Xtc:
    return Xtc(**_given({"probability": request.xtc_probability, "threshold": request.xtc_threshold}))


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}
