"""The KV cache as the engine uses it: which sequence number holds whose tokens, and what a new request finds there."""

from collections.abc import Sequence as Values
from dataclasses import dataclass, field
from enum import Enum

from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.options import CacheOptions
from inference_svc.adapters.llama_cpp.parked import ParkedState, ParkingLot
from inference_svc.adapters.llama_cpp.sequences import Job, Sequence
from inference_svc.domain.media_tokens import whole_chunks
from inference_svc.domain.prefix import PrefixTree

_WORTH_WAITING = 8
"""Tokens that must be saved for a request to wait until another one has read the beginning that both share.

Prompts are read one after the other, so waiting for the one in front costs nothing.
"""
_WORTH_PARKING = 32
_SHORT_TAIL = 16
"""Tokens behind the shared beginning that may be cut off a finished conversation when it is continued in place."""


class Waits(Enum):
    """Why a request cannot begin yet: for somebody who reads the same beginning just now, or for room."""

    LEADER = "leader"
    ROOM = "room"


@dataclass(eq=False, kw_only=True)
class Slot:
    """A sequence number of the context, and what is in it while nobody uses it."""

    id: int
    scope: str = ""
    tokens: list[int] = field(default_factory=list)
    user: Sequence | None = None
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a prompt's first `shared` tokens are: in a slot, in a parked state, or nowhere."""

    shared: int = 0
    slot: Slot | None = None
    parked: ParkedState | None = None


class Cache:
    """Slots of a context and the parking lot behind them."""

    def __init__(self, options: CacheOptions) -> None:
        self._options = options
        self._slots = [Slot(id=number) for number in range(options.slots)]
        self._present: PrefixTree[int] = PrefixTree()
        self._lot = ParkingLot(options.parked)
        self._clock = 0

    @property
    def parked_bytes(self) -> int:
        """The host memory that parked states take."""
        return self._lot.used

    def take(self, job: Job, context: Context, *, margin: int, alone: bool = False) -> Sequence | Waits:
        """Give a job a slot that holds as much of its prompt as anybody has computed.

        A job waits for one that is about to compute more of it. Alone a job always finds room; beside others, `margin`
        cells must be left. A job that is to be `alone` gets an empty context, in which its cells stand in order: sums
        over cells depend on that in their last bits.
        """
        tokens = [*job.prompt, *job.emitted]
        if alone and self._lot.open:
            for finished in self._idle():
                self._evict(finished, context)
        source = self._source(tokens, job.scope)
        if leader := self._leader(tokens, job.scope, at_least=source.shared + _WORTH_WAITING):
            leader.urgency = min(leader.urgency, job.priority)
            return Waits.LEADER
        slot = self._place(source)
        cells = job.layout.cells(len(tokens)) - (0 if source.parked else job.layout.cells(source.shared))
        if source.parked:
            cells = max(cells, source.parked.tokens)
        if slot is None or not self._find_room(cells + margin, source, context):
            return Waits.ROOM
        computed = self._prepare(slot, source, tokens, job.scope, context)
        if job.cached is None:
            job.cached = min(computed, len(job.prompt))
        slot.user = Sequence(job=job, slot=slot.id, tokens=tokens, computed=computed, urgency=job.priority)
        slot.tokens = []
        self._present.insert(slot.id, tokens, scope=job.scope)
        self._touch(slot)
        self._thin_out(context)
        return slot.user

    def release(self, sequence: Sequence) -> None:
        """Let go of a slot; what it holds stays for the next turn."""
        slot = self._slots[sequence.slot]
        slot.tokens, slot.scope, slot.user = sequence.tokens[: sequence.computed], sequence.job.scope, None
        self._present.insert(slot.id, slot.tokens, scope=slot.scope)
        self._touch(slot)

    def forget(self, number: int, context: Context) -> None:
        """Empty a slot."""
        context.keep(number, 0)
        self._present.remove(number)
        self._slots[number].tokens = []

    def forget_all(self, context: Context) -> None:
        """Empty all slots, those in use as well; what is parked stays."""
        context.forget_all()
        for slot in self._slots:
            self._present.remove(slot.id)
            slot.tokens, slot.user = [], None

    def make_room(self, context: Context) -> bool:
        """Move the least recently used conversation out of the context; says whether there was one."""
        idle = self._idle()
        if idle:
            self._evict(idle[0], context)
        return bool(idle)

    def _source(self, tokens: Values[int], scope: str) -> Source:
        """Find the longest beginning that is computed. At least the last token is left: its logits are needed."""
        best = Source()
        for shared, number in self._present.matches(tokens, scope=scope):
            if shared <= best.shared:
                break
            slot = self._slots[number]
            held = slot.user.computed if slot.user else len(slot.tokens)
            usable = whole_chunks(tokens, min(shared, held, len(tokens) - 1))
            if usable > best.shared and (self._options.cuttable or (usable == held and slot.user is None)):
                best = Source(shared=usable, slot=slot)
        shared, parked = self._lot.longest(tokens, scope=scope)
        usable = whole_chunks(tokens, min(shared, len(tokens) - 1))
        if parked and usable > best.shared and (self._options.cuttable or usable == parked.tokens):
            best = Source(shared=usable, parked=parked)
        return best

    def _leader(self, tokens: Values[int], scope: str, *, at_least: int) -> Sequence | None:
        """Find a running sequence that is reading a longer beginning of these tokens."""
        for shared, number in self._present.matches(tokens, scope=scope):
            if min(shared, len(tokens) - 1) < at_least or not self._options.cuttable:
                return None
            user = self._slots[number].user
            if user is not None and user.computed < shared:
                return user
        return None

    def _place(self, source: Source) -> Slot | None:
        """Choose a slot: the source itself where its conversation goes on, else an empty one, else the oldest."""
        slot = source.slot
        if (
            slot
            and slot.user is None
            and (len(slot.tokens) - source.shared <= _SHORT_TAIL or not self._options.cuttable)
        ):
            return slot
        empty = next((each for each in self._slots if each.user is None and not each.tokens), None)
        oldest = sorted(self._idle(), key=lambda each: each is slot)
        return empty or next(iter(oldest), None)

    def _find_room(self, cells: int, source: Source, context: Context) -> bool:
        """Move idle conversations out until so many cells are free; a job that is alone goes on without."""
        while self._occupied() + cells > self._options.cells:
            spare = [slot for slot in self._idle() if slot is not source.slot]
            if not spare:
                return not any(slot.user for slot in self._slots)
            self._evict(spare[0], context)
        return True

    def _prepare(self, slot: Slot, source: Source, tokens: Values[int], scope: str, context: Context) -> int:
        """Leave exactly the shared tokens in the slot and give their number."""
        if source.slot is slot:
            self._park(slot, context, least=source.shared + _SHORT_TAIL)
            return source.shared if context.keep(slot.id, source.shared) else 0
        if slot.tokens:
            self._evict(slot, context)
        if source.slot is not None:
            context.copy(source.slot.id, slot.id, source.shared)
            return source.shared
        if source.parked is None or not context.restore(slot.id, source.parked.data):
            context.keep(slot.id, 0)
            return 0
        self._lot.touch(source.parked)
        if not context.keep(slot.id, source.shared):
            return 0
        self._share(slot, tokens[: source.shared], scope, context)
        return source.shared

    def _share(self, slot: Slot, tokens: Values[int], scope: str, context: Context) -> None:
        """Let a restored slot use the cells of another one that begins alike; fewer cells make faster steps."""
        if not self._options.cuttable:
            return
        for shared, number in self._present.matches(tokens, scope=scope):
            other = self._slots[number]
            held = other.user.computed if other.user else len(other.tokens)
            computed = whole_chunks(tokens, min(shared, held))
            if computed >= _WORTH_PARKING:
                context.copy_beginning(number, slot.id, computed)
            return

    def _thin_out(self, context: Context) -> None:
        """Park what finished conversations hold beyond their share."""
        if not self._lot.open:
            return
        idle = self._idle()
        held = sum(len(slot.tokens) for slot in idle)
        for slot in idle:
            if held <= self._options.idle:
                return
            held -= len(slot.tokens)
            self._evict(slot, context)

    def _evict(self, slot: Slot, context: Context) -> None:
        """Empty a slot; what it holds is parked."""
        self._park(slot, context, least=_WORTH_PARKING)
        self.forget(slot.id, context)

    def _park(self, slot: Slot, context: Context, *, least: int) -> None:
        """Copy what a slot holds into host memory if it is longer than `least` tokens."""
        if self._lot.open and len(slot.tokens) > least:
            data = context.save(slot.id)
            self._lot.add(ParkedState(tokens=len(slot.tokens), data=data), slot.tokens, scope=slot.scope)

    def _idle(self) -> list[Slot]:
        """Give the slots that hold something for nobody, the least recently used first."""
        return sorted((slot for slot in self._slots if slot.user is None and slot.tokens), key=lambda slot: slot.used)

    def _occupied(self) -> int:
        """Count the cells in use or promised, those that several sequences share once."""
        drawn = sum(len(user.tokens) - len(user.job.prompt) - len(user.job.emitted) for user in self._users())
        return self._present.tokens + drawn

    def _users(self) -> list[Sequence]:
        return [slot.user for slot in self._slots if slot.user is not None]

    def _touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.used = self._clock
