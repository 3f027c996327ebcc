"""Where in a grammar a text may stand, followed character by character. Pure.

A place is a stack of steps, the innermost first; a state is the set of places where a text can be, because a grammar
may leave open for a while which of its alternatives is being followed. Repetitions are counted in the stack and never
written out. The work is bounded: where a character leads to too many places, the machine gives up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from inference_svc.domain.gbnf import Alternatives, Characters, Group, Item, Name, Repeat, Rules, Sequence
from inference_svc.domain.gbnf_parser import parse_gbnf

MOST_PLACES = 1_024
"""Places that one character may lead through."""

_REMEMBERED = 8_192
_LARGEST_CODE = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class Step:
    """An item of a sequence and the step behind it.

    One that takes a character has `ranges` of them; another one has `entries`, the first steps of what is inside, once
    it was opened.
    """

    __slots__ = ("behind", "entries", "item", "ranges")

    def __init__(self, item: Item, behind: "Step | None") -> None:
        self.item, self.behind = item, behind
        self.ranges = item.ranges if isinstance(item, Characters) else None
        self.entries: tuple[Step | None, ...] | None = None

    def admits(self, code: int) -> bool:
        """Whether the character of a code point may be taken."""
        for low, high in self.ranges or ():  # noqa: SIM110  # asked for each character; `any` takes twice as long
            if low <= code <= high:
                return True
        return False


class Place:
    """A step to take, how often it was begun before if it is a repetition, and the place to go on at behind it.

    Two are the same only if they are one object, so that deep ones compare fast.
    """

    __slots__ = ("after", "begun", "step")

    def __init__(self, step: Step, begun: int, after: "Place | None") -> None:
        self.step, self.begun, self.after = step, begun, after


class State:
    """Where a text can be.

    `heads` are the places where one more character is due, `complete` says whether the text may end here. `forced` is
    the one character that must come next, empty if there is a choice.
    """

    __slots__ = ("complete", "forced", "heads")

    def __init__(self, heads: tuple[Place, ...], *, complete: bool) -> None:
        self.heads, self.complete = heads, complete
        self.forced = "" if complete else _only(heads)


@dataclass(slots=True, kw_only=True)
class Work:
    """How many places were looked at for one answer, and how many may be."""

    allowed: int
    done: int = 0


class Machine:
    """Follows one grammar; may be used by many answers and from several threads at once.

    What was found out is remembered, as the next answer will stand at most of the same places. `first` is where the
    empty text is; None to give up at once.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._entries: dict[str, tuple[Step | None, ...]] = {}
        self._places: dict[tuple[Step, int, Place | None], Place] = {}
        self._states: dict[tuple[Place, ...], State | None] = {}
        self.first = self._settle([Place(Step(Name("root"), None), 0, None)], Work(allowed=MOST_PLACES))

    def after(self, state: State, char: str, work: Work) -> State | None:
        """Give where the text is with one more character. None if it does not fit, and to give up."""
        taken = state.heads if char == state.forced else self._taken(state, ord(char), work)
        if not taken:
            return None
        try:
            return self._states[taken]
        except KeyError:
            return self._found(taken, work) if work.done <= work.allowed else None

    def _taken(self, state: State, code: int, work: Work) -> tuple[Place, ...]:
        heads = state.heads
        work.done += len(heads)
        return tuple([place for place in heads if place.step.admits(code)])

    def _found(self, taken: tuple[Place, ...], work: Work) -> State | None:
        if len(self._places) + len(self._states) > _REMEMBERED:
            self._places, self._states = {}, {}
        state = self._settle([self._place(place.step.behind, place.after) for place in taken], work)
        self._states[taken] = state
        return state

    def _settle(self, waiting: list[Place | None], work: Work) -> State | None:
        """Go on from some places, each to where a character is due."""
        seen: set[Place | None] = set()
        heads: list[Place] = []
        while waiting and len(seen) + len(waiting) <= MOST_PLACES:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            if place is None:
                continue
            if place.step.ranges is None:
                waiting += self._inside(place)
            elif place.step.ranges:
                heads.append(place)
        work.done += len(seen) + len(waiting)
        return None if waiting else State(tuple(heads), complete=None in seen)

    def _inside(self, place: Place) -> Iterable[Place | None]:
        """Give the places that a place stands for where no character is due yet."""
        step = place.step
        entries = step.entries if step.entries is not None else self._open(step)
        after = self._place(step.behind, place.after)
        if not isinstance(item := step.item, Repeat):
            return [self._place(entry, after) for entry in entries]
        found = [after] if place.begun >= item.least else []
        if item.most is None or place.begun < item.most:
            begun = min(place.begun + 1, item.least) if item.most is None else place.begun + 1
            again = self._place(step, place.after, begun=begun)
            found += [self._place(entry, again) for entry in entries]
        return found

    def _place(self, step: Step | None, after: Place | None, *, begun: int = 0) -> Place | None:
        if step is None:
            return after
        key = (step, begun, after)
        try:
            return self._places[key]
        except KeyError:
            return self._places.setdefault(key, Place(step, begun, after))

    def _open(self, step: Step) -> tuple[Step | None, ...]:
        match step.item:
            case Name(name=name):
                if name not in self._entries:
                    self._entries[name] = _linked(self._rules[name])
                step.entries = self._entries[name]
            case Group(alternatives=alternatives) | Repeat(alternatives=alternatives):
                step.entries = _linked(alternatives)
            case Characters():
                step.entries = ()
        return step.entries


@lru_cache(maxsize=64)
def machine_of(gbnf: str) -> Machine | None:
    """Give the machine of a grammar. None for a grammar that `parse_gbnf` cannot read."""
    rules = parse_gbnf(gbnf)
    return None if rules is None else Machine(rules)


def _only(heads: Iterable[Place]) -> str:
    """Give the one character that all places admit and no other; empty if there is none."""
    only = -1
    for place in heads:
        for low, high in place.step.ranges or ():
            if low != high or only not in (-1, low):
                return ""
            only = low
    return chr(only) if 0 <= only <= _LARGEST_CODE and only not in _SURROGATES else ""


def _linked(alternatives: Alternatives) -> tuple[Step | None, ...]:
    """Give the first steps of alternatives; those that begin with the same characters share them.

    So a state holds few places while it is open which of a hundred values is being written.
    """
    alike: dict[Item | int, list[Sequence]] = {}
    for number, sequence in enumerate(alternatives):
        first = sequence[0] if sequence and isinstance(sequence[0], Characters) else number
        alike.setdefault(first, []).append(sequence)
    return tuple(_chain(each[0] if len(each) == 1 else _shared(each)) for each in alike.values())


def _shared(sequences: list[Sequence]) -> Sequence:
    columns = zip(*sequences, strict=False)
    same = (all(item is column[0] for item in column) for column in columns)
    size = next((place for place, alike in enumerate(same) if not alike), min(map(len, sequences)))
    return (*sequences[0][:size], Group(tuple(sequence[size:] for sequence in sequences)))


def _chain(sequence: Sequence) -> Step | None:
    step = None
    for item in reversed(sequence):
        step = Step(item, step)
    return step
