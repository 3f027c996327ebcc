"""How many tokens items take: as counted, else guessed."""

from context_svc.domain.item import Item
from threadmesh.conversation import Media, Message

_MESSAGE_TOKENS = 4
_BYTES_PER_TOKEN = 3
_MEDIA_TOKENS = 1024


def tokens_of(item: Item) -> int:
    """Give the item's tokens as counted, else as estimated."""
    return item.tokens or estimated_tokens(item.message)


def estimated_tokens(message: Message) -> int:
    """Guess a message's tokens on the safe side: a third of its bytes, a thousand for a medium, a few around it."""
    media = sum(isinstance(part, Media) for part in message.parts)
    texts = [part.text for part in message.parts if not isinstance(part, Media)]
    texts += [call.name + call.arguments_json for call in message.tool_calls]
    size = sum(len(text.encode()) for text in texts)
    return -(-size // _BYTES_PER_TOKEN) + _MESSAGE_TOKENS + media * _MEDIA_TOKENS
