"""The KV states of conversations that found no room in the context, kept in host memory until they go on."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from inference_svc.adapters.llama_cpp.context import State
from inference_svc.domain.prefix import PrefixTree


@dataclass(eq=False, frozen=True, slots=True, kw_only=True)
class ParkedState:
    """The state of the first `tokens` tokens of a sequence, as the context wrote it."""

    tokens: int
    data: State

    @property
    def size(self) -> int:
        """The bytes that the state takes."""
        return len(self.data)


class ParkingLot:
    """Keeps states up to a budget of bytes; the least recently used ones make room."""

    def __init__(self, budget: int) -> None:
        """With a budget of 0 nothing is kept."""
        self._budget = budget
        self._states: OrderedDict[ParkedState, None] = OrderedDict()
        self._tree: PrefixTree[ParkedState] = PrefixTree()
        self.used = 0

    @property
    def open(self) -> bool:
        """Whether anything can be kept."""
        return self._budget > 0

    def add(self, state: ParkedState, tokens: Sequence[int], *, scope: str) -> None:
        """Keep a state; earlier ones that it continues are dropped."""
        for shorter in self._tree.covered(tokens, scope=scope):
            self._drop(shorter)
        while self._states and self.used + state.size > self._budget:
            self._drop(next(iter(self._states)))
        if state.size <= self._budget:
            self._tree.insert(state, tokens, scope=scope)
            self._states[state] = None
            self.used += state.size

    def longest(self, tokens: Sequence[int], *, scope: str) -> tuple[int, ParkedState | None]:
        """Give the state that shares most of a prompt's beginning, and how many tokens it shares."""
        return next(self._tree.matches(tokens, scope=scope), (0, None))

    def touch(self, state: ParkedState) -> None:
        """Note that a state was used just now."""
        self._states.move_to_end(state)

    def clear(self) -> None:
        """Forget all states."""
        for state in list(self._states):
            self._drop(state)

    def _drop(self, state: ParkedState) -> None:
        self._tree.remove(state)
        del self._states[state]
        self.used -= state.size
