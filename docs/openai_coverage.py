"""Prints which properties of OpenAI's API the facade answers for, by the types of OpenAI's own package.

With `--description FILE`, by OpenAI's published description (.json or .json.gz), beside the document that is served.
Exits with 1 when a property is neither known nor listed with the reason why it is refused or ignored.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from openai.resources.models import AsyncModels
from openai.types import completion_create_params as text_create_params
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params
from openai.types.conversations import conversation_create_params, conversation_update_params, item_create_params
from openai.types.responses import input_token_count_params, response_compact_params, response_create_params
from openai_compared import Coverage, described
from openai_description import Document, read
from openai_reasons import MODELS
from pydantic import BaseModel

from facade.app import app
from facade.edge.chat.fields import InVain
from facade.edge.chat.schemas import ChatRequest
from facade.edge.completions.schemas import CompletionRequest
from facade.edge.conversations.schemas import ConversationUpdate, NewConversation, NewItems
from facade.edge.embeddings import EmbeddingRequest
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.windows import CompactRequest, InputTokensRequest
from facade.settings import FacadeSettings
from threadmesh.telemetry.metrics import new_registry

_INPUT_PARTS = dict.fromkeys(
    ("input.content.detail", "input.output.detail"), "a model's own encoder says how closely it looks"
)
_ITEM_PARTS = {name.replace("input", "items", 1): why for name, why in _INPUT_PARTS.items()}
_RESPONSE_PARTS = {
    **_INPUT_PARTS,
    "access_programs": "there are none",
    "background_options": "what is made in the background is kept for a day",
    "context_management": "what is too old is left out by itself",
    "image": "no model here makes images",
    "moderation": "there is no moderation model",
    "prompt_cache_options": "prompts are cached by what they begin with",
    "prompt_cache_retention": "prompts are cached by what they begin with",
    "include": "what is thought is not encrypted; other values are honoured",
    "reasoning.summary": "what is thought comes whole",
    "service_tier": "there is one",
    "stream_options.include_obfuscation": "streams are not padded",
    "text.verbosity": "models here do not know it",
}
_IGNORED = {
    "chat completions": {
        "messages.content.image_url.detail": "a model's own encoder says how closely it looks",
        "moderation": "there is no moderation model",
        "prompt_cache_options": "prompts are cached by what they begin with",
        "prompt_cache_retention": "prompts are cached by what they begin with",
        "service_tier": "there is one",
        "stream_options.include_obfuscation": "streams are not padded",
        "verbosity": "models here do not know it",
    },
    "responses": _RESPONSE_PARTS,
    "responses, input tokens": {
        **_RESPONSE_PARTS,
        "conversation": "threads are named by headers or metadata",
        "personality": "models here have their own",
    },
    "responses, compact": {
        **_INPUT_PARTS,
        "service_tier": "there is one",
        "image": "no model here makes images",
        "prompt_cache_options": "prompts are cached by what they begin with",
        "prompt_cache_retention": "prompts are cached by what they begin with",
    },
    "completions": {"stream_options.include_obfuscation": "streams are not padded"},
    "embeddings": {},
    "conversations": _ITEM_PARTS,
    "conversations, update": {},
    "conversations, items": _ITEM_PARTS,
}
_REFUSED = "Refused: it "


def coverages() -> Iterator[Coverage]:
    """Compare the requests that are read here with those that OpenAI's package can send."""
    yield _coverage("chat completions", completion_create_params.CompletionCreateParamsBase, ChatRequest, "stream")
    yield _coverage("responses", response_create_params.ResponseCreateParamsBase, ResponseRequest, "stream")
    counted, compacted = input_token_count_params.InputTokenCountParams, response_compact_params.ResponseCompactParams
    yield _coverage("responses, input tokens", counted, InputTokensRequest)
    yield _coverage("responses, compact", compacted, CompactRequest)
    yield _coverage("completions", text_create_params.CompletionCreateParamsBase, CompletionRequest, "stream")
    yield _coverage("embeddings", embedding_create_params.EmbeddingCreateParams, EmbeddingRequest)
    yield _coverage("conversations", conversation_create_params.ConversationCreateParams, NewConversation)
    yield _coverage("conversations, update", conversation_update_params.ConversationUpdateParams, ConversationUpdate)
    yield _coverage("conversations, items", item_create_params.ItemCreateParams, NewItems, said_by_query=("include",))
    yield _models_coverage()


def _coverage(
    endpoint: str, theirs: Any, ours: type[BaseModel], *more: str, said_by_query: tuple[str, ...] = ()
) -> Coverage:
    names = sorted({*theirs.__annotations__, *more} - {*said_by_query})
    known = {field.alias or name: field for name, field in ours.model_fields.items()}
    told = {name: field.description or "" for name, field in known.items()}
    refused = {name: told[name].removeprefix(_REFUSED).rstrip(".") for name in names if _refuses(told.get(name, ""))}
    vain = set(_vain(ours))
    entirely = {name for name, field in known.items() if any(_entirely(each) for each in field.metadata)}
    to_ignore = vain | (set(names) - known.keys())
    ignored = {name: why for name, why in _IGNORED[endpoint].items() if name in to_ignore}
    return Coverage(
        endpoint=endpoint,
        properties=len(names),
        honoured=tuple(name for name in names if name in known.keys() - refused.keys() - entirely),
        refused=refused,
        ignored=ignored,
        missing=tuple(sorted(to_ignore - ignored.keys())),
    )


def _refuses(description: str) -> bool:
    return description.startswith(_REFUSED)


def _models_coverage() -> Coverage:
    """Tell of the models, of which nothing but a path is sent: what can be done with them."""
    names = [name for name, what in vars(AsyncModels).items() if asyncio.iscoroutinefunction(what) or name == "list"]
    honoured = tuple(name for name in names if name not in MODELS)
    return Coverage(endpoint="models", properties=len(names), honoured=honoured, refused=MODELS, ignored={}, missing=())


async def _served() -> Document:
    """Give the document of a facade with nobody behind it."""
    async with app(FacadeSettings(), new_registry()) as built:
        return built.openapi()


def _vain(model: type[BaseModel], *, within: str = "") -> Iterator[str]:
    """Yield the paths of fields that are read and change nothing, or not with all of their values."""
    for name, field in model.model_fields.items():
        if any(isinstance(each, InVain) for each in field.metadata):
            yield within + name
        for part in _models(field.annotation):
            yield from _vain(part, within=f"{within}{name}.")


def _entirely(marker: Any) -> bool:
    return isinstance(marker, InVain) and not marker.only


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def main() -> int:
    """Print the coverage; 1 when something is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--description", type=Path, help="OpenAI's published description, .json or .json.gz")
    chosen = parser.parse_args().description
    found = list(described(read(chosen), asyncio.run(_served())) if chosen else coverages())
    for each in found:
        counts = f"{len(each.honoured)} of {each.properties} honoured, {len(each.refused)} refused with a reason"
        print(f"{each.endpoint}: {counts}")  # noqa: T201
        for name, why in each.refused.items():
            print(f"  {name}: refused; {why}")  # noqa: T201
        for name, why in each.ignored.items():
            print(f"  {name}: ignored; {why}")  # noqa: T201
        for name in each.missing:
            print(f"  {name}: MISSING")  # noqa: T201
    return int(any(each.missing for each in found))


if __name__ == "__main__":
    sys.exit(main())
