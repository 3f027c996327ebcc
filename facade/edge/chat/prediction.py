"""What a request says its answer will be like."""

from typing import Annotated, Literal

from pydantic import Field

from facade.edge.chat.fields import Schema


class PredictedPart(Schema):
    """A piece of the predicted text."""

    type: Literal["text"]
    text: str


class Prediction(Schema):
    """A text that the answer will repeat, most of it."""

    type: Literal["content"]
    content: str | Annotated[list[PredictedPart], Field(min_length=1, max_length=256)]

    @property
    def text(self) -> str:
        """Give the whole text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
