"""The KV cache as the engine uses it: which sequence number holds whose tokens, and what a new request finds there."""

from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.sequences import CacheSlot, Job, Sequence
from inference_svc.domain.prefix import Choice, choose


class Cache:
    """Slots of a context. A slot keeps its tokens after its request has ended, until somebody needs the place."""

    def __init__(self, slots: int, *, cells: int, reusable: bool) -> None:
        """`cells` bounds the tokens of all slots together; not `reusable` caches cannot be cut back to a prefix."""
        self._slots = [CacheSlot(id=number) for number in range(slots)]
        self._cells, self._reusable = cells, reusable
        self._clock = 0

    @property
    def free(self) -> int:
        """The number of slots that nobody uses."""
        return sum(slot.user is None for slot in self._slots)

    @property
    def users(self) -> list[Sequence]:
        """The sequences that run."""
        return [slot.user for slot in self._slots if slot.user is not None]

    def take(self, job: Job, context: Context, *, margin: int) -> Sequence | None:
        """Give a job the slot that holds most of its prompt; None while there is no slot or not enough room.

        Alone a job always finds room; beside others, `margin` cells must be left.
        """
        tokens = [*job.prompt, *job.emitted]
        used = sum(sequence.cells for sequence in self.users)
        if not self.free or (used and used + job.layout.cells(len(tokens)) + margin > self._cells):
            return None
        choice = choose([slot.view() for slot in self._slots], tokens, scope=job.scope)
        if choice is None:
            return None
        shared = self._prepare(choice, context)
        sequence = Sequence(
            job=job, slot=choice.slot, tokens=tokens, computed=shared, cached=min(shared, len(job.prompt))
        )
        slot = self._slots[choice.slot]
        slot.user, slot.tokens = sequence, []
        self._touch(slot)
        return sequence

    def _prepare(self, choice: Choice, context: Context) -> int:
        """Leave exactly the shared tokens in the slot and give their number."""
        shared = choice.shared if self._reusable else 0
        if not shared:
            context.keep(choice.slot, 0)
        elif choice.source == choice.slot:
            context.keep(choice.slot, shared)
        else:
            context.copy(choice.source, choice.slot, shared)
        return shared

    def release(self, sequence: Sequence) -> None:
        """Let go of a slot; what it holds stays for the next turn."""
        slot = self._slots[sequence.slot]
        slot.tokens, slot.scope, slot.user = sequence.tokens[: sequence.computed], sequence.job.scope, None
        self._touch(slot)

    def forget(self, slot: int, context: Context) -> None:
        """Empty a slot."""
        context.keep(slot, 0)
        self._slots[slot].tokens = []

    def forget_oldest(self, context: Context) -> bool:
        """Empty the unused slot that was used least recently; says whether there was one."""
        idle = [slot for slot in self._slots if slot.user is None and slot.tokens]
        if idle:
            self.forget(min(idle, key=lambda slot: slot.used).id, context)
        return bool(idle)

    def forget_all(self, context: Context) -> None:
        """Empty all slots; those in use are released."""
        context.forget_all()
        for slot in self._slots:
            slot.tokens, slot.user = [], None

    def _touch(self, slot: CacheSlot) -> None:
        self._clock += 1
        slot.used = self._clock
