"""The bodies of requests about conversations."""

from typing import Annotated

from pydantic import Field

from facade.edge.chat.fields import Schema
from facade.edge.chat.schemas import Metadata
from facade.edge.responses.input_items import SaidItem

_MOST = 20
"""How many items OpenAI takes at once."""


class NewConversation(Schema):
    """The body of `POST /v1/conversations`; all of it may be absent."""

    items: Annotated[list[SaidItem], Field(max_length=_MOST)] | None = None
    metadata: Metadata | None = None


class ConversationUpdate(Schema):
    """The body of `POST /v1/conversations/{id}`."""

    metadata: Metadata | None = Field(description="Replaces all that there was; null leaves none.")


class NewItems(Schema):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[list[SaidItem], Field(min_length=1, max_length=_MOST)]
