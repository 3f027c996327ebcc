"""Who holds the beginning of a prompt: a radix tree over token ids. Pure; knows holders, not llama.cpp."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Tokens = Sequence[int]
Holder = TypeVar("Holder", bound=Hashable)


def shared_prefix(left: Tokens, right: Tokens) -> int:
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


@dataclass(eq=False, slots=True)
class _Node(Generic[Holder]):
    """The tokens between two forks; `holders` hold everything from the root to the end of these tokens."""

    tokens: tuple[int, ...]
    parent: "_Node[Holder] | None" = None
    children: dict[int, "_Node[Holder]"] = field(default_factory=dict)
    holders: list[Holder] = field(default_factory=list)

    def below(self) -> Iterator[Holder]:
        """Give the holders of these tokens, those of longer ones included."""
        nodes = [self]
        while nodes:
            node = nodes.pop()
            yield from node.holders
            nodes.extend(node.children.values())


class PrefixTree(Generic[Holder]):
    """Knows which tokens each of a set of holders has, and finds those who share a prompt's beginning.

    Scopes never see each other. A look-up costs the length of the prompt, however many holders there are.
    """

    def __init__(self) -> None:
        self._roots: dict[str, _Node[Holder]] = {}
        self._ends: dict[Holder, tuple[str, _Node[Holder]]] = {}
        self._tokens = 0

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, holder: Holder) -> bool:
        return holder in self._ends

    @property
    def tokens(self) -> int:
        """The number of tokens held, those that several holders share counted once."""
        return self._tokens

    def insert(self, holder: Holder, tokens: Tokens, *, scope: str) -> None:
        """Say that a holder has these tokens now, and nothing else."""
        self.remove(holder)
        node = self._roots.setdefault(scope, _Node(()))
        rest = tuple(tokens)
        while rest:
            child = node.children.get(rest[0])
            child = self._attach(node, rest) if child is None else self._split(child, shared_prefix(child.tokens, rest))
            rest = rest[len(child.tokens) :]
            node = child
        node.holders.append(holder)
        self._ends[holder] = scope, node

    def remove(self, holder: Holder) -> None:
        """Forget a holder; one that is not known is no error."""
        if (found := self._ends.pop(holder, None)) is None:
            return
        scope, node = found
        node.holders.remove(holder)
        while node.parent is not None and not node.holders and not node.children:
            del node.parent.children[node.tokens[0]]
            self._tokens -= len(node.tokens)
            node = node.parent
        if node.parent is None and not node.holders and not node.children:
            del self._roots[scope]

    def matches(self, tokens: Tokens, *, scope: str) -> Iterator[tuple[int, Holder]]:
        """Give (shared tokens, holder) for all who share a beginning with `tokens`, those that share most first."""
        seen: set[Holder] = set()
        for shared, node in reversed(self._path(tuple(tokens), scope)):
            for holder in node.below():
                if holder not in seen:
                    seen.add(holder)
                    yield shared, holder

    def covered(self, tokens: Tokens, *, scope: str) -> list[Holder]:
        """Give the holders whose tokens are all a beginning of `tokens`, the longest first."""
        path = self._path(tuple(tokens), scope)
        return [holder for shared, node in reversed(path) if shared == _depth(node) for holder in node.holders]

    def _path(self, rest: tuple[int, ...], scope: str) -> list[tuple[int, _Node[Holder]]]:
        """Walk down as far as the tokens go; gives each node met and how many tokens are shared at it."""
        path: list[tuple[int, _Node[Holder]]] = []
        node, shared = self._roots.get(scope), 0
        while node is not None and rest:
            node = node.children.get(rest[0])
            if node is None:
                break
            common = shared_prefix(node.tokens, rest)
            shared += common
            path.append((shared, node))
            if common < len(node.tokens):
                break
            rest = rest[common:]
        return path

    def _attach(self, parent: _Node[Holder], tokens: tuple[int, ...]) -> _Node[Holder]:
        child = _Node(tokens, parent)
        parent.children[tokens[0]] = child
        self._tokens += len(tokens)
        return child

    def _split(self, node: _Node[Holder], at: int) -> _Node[Holder]:
        """Cut a node in two; gives the upper one, which is the node itself if nothing was left to cut."""
        if at == len(node.tokens):
            return node
        upper = _Node(node.tokens[:at], node.parent)
        assert node.parent is not None  # the root has no tokens and is never split
        node.parent.children[upper.tokens[0]] = upper
        node.tokens, node.parent = node.tokens[at:], upper
        upper.children[node.tokens[0]] = node
        return upper


def _depth(node: _Node[Holder]) -> int:
    depth = 0
    above: _Node[Holder] | None = node
    while above is not None:
        depth += len(above.tokens)
        above = above.parent
    return depth
