"""Who of the waiting comes next, and who may wait at all. Pure."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from threadmesh.errors import Overloaded

Key = TypeVar("Key", bound=Hashable)

_LARGEST_SHARE = 0.75
"""What one tenant may take of the places, so that another finds one."""
_FEW_SLOTS = 3
"""So few are not kept free: one of them is too much of the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where somebody stands in the queue: by priority, then by the tenant's turn, then by arrival."""

    priority: int
    turn: float
    number: int
    tenant: str

    @property
    def order(self) -> tuple[int, float, int]:
        return self.priority, self.turn, self.number


class WaitingRoom(Generic[Key]):
    """A bounded queue, fair among tenants.

    Each tenant's work is lined up on a clock of its own that advances by the work's cost, and who is earliest on it
    goes first (start-time fair queueing; Goyal, Vin, Cheng 1996): a tenant who asks for one answer goes before the
    second answer of one who asked for a hundred. Within a tenant the order is that of arrival, and a higher priority
    always goes before a lower one. Once several tenants have come, none of them is served in all slots, so that the
    first request of another need not wait until an answer has ended. What has no tenant has all rights.
    """

    def __init__(self, *, places: int, slots: int = 0) -> None:
        """`places` bounds those that wait and those that are being served together, who are `slots` at most."""
        self._limit, self._slots = places, slots
        self._tenant = ""
        self._several = False
        self._held: dict[Key, _Place] = {}
        self._waiting: set[Key] = set()
        self._ends: dict[str, float] = {}
        self._now = 0.0
        self._arrivals = 0

    def __len__(self) -> int:
        """Count those that wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Key]:
        """Give those that wait in the order in which they should be served."""
        return iter(sorted(self._waiting, key=lambda key: self._held[key].order))

    def enter(self, key: Key, *, tenant: str, priority: int, cost: float) -> None:
        """Line up. Raises `Overloaded` where there is no place left, or none for this tenant."""
        mine = sum(place.tenant == tenant for place in self._held.values())
        share = max(1, int(self._limit * _LARGEST_SHARE)) if tenant else self._limit
        if len(self._held) >= self._limit or mine >= share:
            raise Overloaded
        self._several = self._several or bool(tenant and self._tenant and tenant != self._tenant)
        self._tenant = tenant or self._tenant
        self._arrivals += 1
        turn = max(self._now, self._ends.get(tenant, 0.0))
        self._ends[tenant] = turn + cost
        self._held[key] = _Place(priority=priority, turn=turn, number=self._arrivals, tenant=tenant)
        self._waiting.add(key)

    def waits(self, key: Key) -> bool:
        """Say whether somebody waits, as opposed to being served or gone."""
        return key in self._waiting

    def stands_back(self, key: Key) -> bool:
        """Say whether somebody who waits must leave a slot that is free to another tenant."""
        tenant = self._held[key].tenant
        if not tenant or not self._several or self._slots <= _FEW_SLOTS:
            return False
        served = sum(place.tenant == tenant for other, place in self._held.items() if other not in self._waiting)
        return served >= self._slots - 1

    def serve(self, key: Key) -> None:
        """Take somebody out of the queue to be served; the place is free again after `leave`."""
        self._waiting.remove(key)
        self._now = max(self._now, self._held[key].turn)

    def wait_again(self, key: Key) -> None:
        """Line up again where one stood: what was being served has to be begun anew."""
        self._waiting.add(key)

    def leave(self, key: Key) -> None:
        """Free the place of somebody who waited or was served; more than once does no harm."""
        self._waiting.discard(key)
        gone = self._held.pop(key, None)
        if gone is not None and all(place.tenant != gone.tenant for place in self._held.values()):
            self._ends.pop(gone.tenant, None)  # who comes back without work left starts level with the others
