"""What is kept, and for how long."""

from context_svc.domain.assemble import INSTRUCTIONS
from context_svc.domain.item import Item, ItemKind


def stays(item: Item) -> bool:
    """Say whether an item is kept as long as its thread: instructions and summaries are."""
    return item.message.role in INSTRUCTIONS or item.kind is ItemKind.SUMMARY
