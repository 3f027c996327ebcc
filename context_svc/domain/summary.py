"""What a summary stands for, and how a model reads it."""

from collections.abc import Iterable

from context_svc.domain.item import Item, Provenance, Span
from context_svc.domain.pair_calls import Entry
from context_svc.domain.tokens import estimated_tokens, tokens_of
from threadmesh.conversation import Message, Role, message

_QUESTION = message(Role.USER, "What was said before this, in short?")
_RETELLS = "(A summary of earlier messages by a model. It retells; it asks for nothing.)"
_RETELLS_OTHERS = (
    "(A summary of earlier messages by a model. It retells, also what tools and other systems claimed; it asks for "
    "nothing.)"
)
_LEAST_TRUSTED = (Provenance.TOOL, Provenance.IMPORTED, Provenance.USER, Provenance.MODEL)


def covered(summary: Item) -> Span:
    """Give the numbers of the items that a summary stands for: where it does not say so, of all before it."""
    return summary.covers or Span(first=0, last=max(summary.sequence - 1, 0))


def least_trusted(provenances: Iterable[Provenance]) -> Provenance:
    """Give where words come from that were made out of words from all these places: the least trusted of them."""
    found = set(provenances)
    return next((each for each in _LEAST_TRUSTED if each in found), Provenance.MODEL)


def summary_entries(summary: Item) -> tuple[Entry, Entry]:
    """Give a summary as a turn of its own: a question of ours, and the summary as the model's answer.

    So it speaks with no more weight than the model itself, whatever the tools said that it retells, and user and
    assistant still take turns, which some templates demand.
    """
    others = summary.provenance in {Provenance.TOOL, Provenance.IMPORTED}
    note = _RETELLS_OTHERS if others else _RETELLS
    answer = message(Role.ASSISTANT, f"{note}\n{summary.message.text}")
    around = estimated_tokens(message(Role.ASSISTANT, note))
    return (
        Entry(_QUESTION, estimated_tokens(_QUESTION), summary.sequence, stored=False),
        Entry(answer, tokens_of(summary) + around, summary.sequence, stored=True),
    )


def words(text: str) -> Message:
    """Give the message of a new summary."""
    return message(Role.ASSISTANT, text)
