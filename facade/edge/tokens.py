"""`/v1/tokenize` and `/v1/detokenize`, in vLLM's form: what a model reads, in its own tokens."""

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request
from pydantic import Field, model_validator
from starlette.responses import Response

from facade.domain.ports import Conversation, Inference, Tokenizable
from facade.domain.written import tell_place
from facade.edge import examples
from facade.edge.answers.texts import TextOfTokens, Tokens
from facade.edge.body import read
from facade.edge.chat.decode import message_of, tool_of
from facade.edge.chat.fields import Integer, Schema, inconsistent
from facade.edge.chat.schemas import Message, Tool
from facade.edge.chat.written import written
from facade.edge.openapi import answer, request_body
from threadmesh.errors import MeshError

Token = Annotated[Integer, Field(ge=0, lt=2**31)]


class TokenizeRequest(Schema):
    """The body of `POST /v1/tokenize`: a text as `prompt`, or a conversation as `messages`."""

    model: str | None = Field(default=None, max_length=256, description="Absent: the default model.")
    prompt: str | None = None
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=2048)
    tools: list[Tool] | None = Field(default=None, max_length=128)
    add_special_tokens: bool = Field(
        default=True, description="Reads a prompt as /v1/completions does. false: as the content of a message is read."
    )
    add_generation_prompt: bool = Field(default=True, description="Lets a conversation end where the answer begins.")
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise inconsistent("prompt", "Send either a prompt or messages.")
        return self

    def read(self) -> Tokenizable:
        """Give what is tokenised."""
        if self.prompt is not None:
            return self.prompt
        messages, tools = map(message_of, self.messages or ()), map(tool_of, self.tools or ())
        return Conversation(messages=tuple(messages), tools=tuple(tools))


class DetokenizeRequest(Schema):
    """The body of `POST /v1/detokenize`."""

    model: str | None = Field(default=None, max_length=256, description="Absent: the default model.")
    tokens: list[Token]


def router(inference: Inference) -> APIRouter:
    """Make the routes."""
    routes = APIRouter(tags=["tokens"])

    @routes.post(
        "/v1/tokenize",
        summary="Give what a model reads",
        responses=answer(Tokens),
        openapi_extra=request_body(TokenizeRequest, examples.TOKENIZE),
    )
    async def tokenize(request: Request) -> Response:
        asked = await read(request, TokenizeRequest)
        name = asked.model or ""
        tokens = list(await _tokenized(inference, asked))
        texts = await inference.detokenize(tokens, model=name) if asked.return_token_strs else None
        model = await inference.model(name)
        return _json(
            {
                "count": len(tokens),
                "max_model_len": model.context_tokens,
                "tokens": tokens,
                "token_strs": None if texts is None else [text.decode(errors="replace") for text in texts],
            }
        )

    @routes.post(
        "/v1/detokenize",
        summary="Give the text of tokens",
        responses=answer(TextOfTokens),
        openapi_extra=request_body(DetokenizeRequest, examples.DETOKENIZE),
    )
    async def detokenize(request: Request) -> Response:
        asked = await read(request, DetokenizeRequest)
        pieces = await inference.detokenize(asked.tokens, model=asked.model or "")
        return _json({"prompt": b"".join(pieces).decode(errors="replace")})

    return routes


async def _tokenized(inference: Inference, asked: TokenizeRequest) -> Sequence[int]:
    given, special, ask = asked.read(), asked.add_special_tokens, asked.add_generation_prompt
    try:
        return await inference.tokenize(given, model=asked.model or "", special=special, ask=ask)
    except MeshError as error:
        if isinstance(given, Conversation):
            places = written(asked.messages or (), given.messages, asked.tools or ())
            tell_place(error, places, messages=given.messages, tools=given.tools)
        raise


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
