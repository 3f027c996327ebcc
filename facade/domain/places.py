"""How many runs this process answers at the same time, and for whom. Pure."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from threadmesh.errors import Overloaded

_LARGEST_SHARE = 0.75
"""What one caller may take of the places, so that another finds one; inference_svc shares its queue alike."""


class Places:
    """So many places, of which no caller can have all. Callers without an identity share them all."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._share = max(1, int(count * _LARGEST_SHARE))
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken.total()

    def taken_by(self, identity: str) -> int:
        """How many of them this caller has."""
        return self._taken[identity]

    def take(self, identity: str) -> Callable[[], None]:
        """Take a place; gives what frees it, once. Raises `Overloaded` where none is left, or none for this caller."""
        share = self._share if identity else self._count
        if self._taken.total() >= self._count or self._taken[identity] >= share:
            raise Overloaded
        self._taken[identity] += 1
        held = ExitStack()
        held.callback(self._free, identity)
        return held.close

    def _free(self, identity: str) -> None:
        self._taken[identity] -= 1
        self._taken += Counter()  # forgets those without a place
