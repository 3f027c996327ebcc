"""How much is stored."""

from typing import Literal

from pydantic import BaseModel

from facade.edge.answers.common import example


class UsageAnswer(BaseModel):
    """What a key's tenant has stored, and may; null is no limit."""

    model_config = example(
        {"object": "threadmesh.usage", "tenant": "family", "stored_bytes": 52341, "stored_bytes_limit": 1000000000}
    )
    object: Literal["threadmesh.usage"]
    tenant: str
    stored_bytes: int
    stored_bytes_limit: int | None
