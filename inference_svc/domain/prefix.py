"""Where a new request finds most of its prompt already computed. Pure; knows slots, not llama.cpp."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_svc.domain.media_tokens import whole_chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place in the KV cache: the tokens it holds, for whom, whether somebody uses it, and when it was used last."""

    id: int
    scope: str
    tokens: Sequence[int]
    busy: bool
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The slot to take, and how many tokens it shares with `source`: itself (keep them) or another slot (copy them)."""

    slot: int
    source: int
    shared: int


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Count the tokens with which both begin."""
    left, right = tuple(left), tuple(right)
    low, high = 0, min(len(left), len(right))
    while low < high:  # comparing slices is done in C, so halving beats a loop over tokens
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def choose(slots: Sequence[Slot], prompt: Sequence[int], *, scope: str) -> Choice | None:
    """Choose a slot for a prompt; None while all are busy.

    At least the prompt's last token is left to compute, because its logits are needed. A slot that holds the beginning
    of this very conversation is continued. One that shares less is copied from, so that its own conversation stays.
    """
    idle = [slot for slot in slots if not slot.busy]
    if not idle:
        return None
    shares = {slot.id: _share(slot, prompt, scope) for slot in slots}
    source = max(slots, key=lambda slot: (shares[slot.id], not slot.busy, slot.used))
    if not source.busy and shares[source.id] * 2 >= len(source.tokens) > 0:
        return Choice(slot=source.id, source=source.id, shared=shares[source.id])
    target = min(idle, key=lambda slot: (bool(slot.tokens), slot.id == source.id, slot.used))
    return Choice(slot=target.id, source=source.id, shared=shares[source.id])


def _share(slot: Slot, prompt: Sequence[int], scope: str) -> int:
    if slot.scope != scope:
        return 0
    return whole_chunks(prompt, min(shared_prefix(slot.tokens, prompt), len(prompt) - 1))
