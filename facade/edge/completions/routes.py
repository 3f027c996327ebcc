"""`POST /v1/completions`: go on with texts. No run is made: nothing is kept, and a client that leaves stops it."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from facade.domain.continuation import Continuations, Prompt, continued
from facade.domain.limits import Mesh
from facade.domain.metered import text_tokens
from facade.domain.parameters import TurnParameters
from facade.edge import examples, sse
from facade.edge.admission import Admission
from facade.edge.answers.texts import TextCompletion
from facade.edge.body import read
from facade.edge.chat.sampling import wishes
from facade.edge.completions.encode import Completion
from facade.edge.completions.schemas import CompletionRequest
from facade.edge.errors import body_of
from facade.edge.leaving import LEFT, unless_gone
from facade.edge.metrics import FacadeMetrics
from facade.edge.openapi import answer, request_body
from threadmesh.errors import InvalidArgument, MeshError
from threadmesh.rpc import deadline

_TOKENS = 16
"""The length of a continuation whose request says none, which is OpenAI's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionOptions:
    """How texts are gone on with here: `max_choices` for one prompt, and so many at one time in all."""

    max_choices: int
    share_prompts: bool
    seconds: float
    patience_seconds: float
    keepalive_seconds: float


class Completions:
    """Answers requests to go on with texts."""

    def __init__(self, mesh: Mesh, admission: Admission, metrics: FacadeMetrics, options: CompletionOptions) -> None:
        self._mesh, self._admission, self._metrics, self._options = mesh, admission, metrics, options

    def router(self) -> APIRouter:
        """Make the route."""
        routes = APIRouter(tags=["completions"])
        routes.add_api_route(
            "/v1/completions",
            self.complete,
            methods=["POST"],
            summary="Go on with texts as they stand",
            responses=answer(TextCompletion, stream=examples.COMPLETION_STREAM),
            openapi_extra=request_body(CompletionRequest, examples.COMPLETION),
        )
        return routes

    async def complete(self, request: Request) -> Response:
        """Go on with one or several texts, as a whole or as a stream."""
        asked = await read(request, CompletionRequest)
        self._check(asked)
        parameters = self._parameters(asked, request.state.key)
        await self._admission.unless_refused(request, model=parameters.model, models=self._mesh.inference)
        held = self._admission.admit(request, tokens=_expected_tokens(asked))
        request.state.until_its_end.enter_context(held)
        echoes = await self._echoes(asked)
        completion = Completion(
            f"cmpl-{uuid.uuid4().hex}", echoes, choices=asked.n or 1, logprobs=asked.logprobs is not None
        )
        wanted = Continuations(prompts=asked.prompts, parameters=parameters)
        with deadline.within(self._options.seconds):
            shown = self._chunks(wanted, completion, usage=_include_usage(asked))
            return await (self._stream(shown, request) if asked.stream else self._whole(shown, completion, request))

    def _check(self, asked: CompletionRequest) -> None:
        n, most = asked.n or 1, self._options.max_choices
        if n > most:
            raise InvalidArgument(f"n must be at most {most} here (FACADE_MAX_CHOICES).", field="n")
        if asked.best_of is not None and asked.best_of != n:
            raise InvalidArgument(
                "best_of must be equal to n: all that is made is given.",
                field="best_of",
                kind="invalid_value",
            )
        if asked.echo and asked.logprobs is not None:
            raise InvalidArgument(
                "echo cannot be had with logprobs: those of the prompt are not computed.",
                field="logprobs",
                kind="invalid_value",
            )

    def _parameters(self, asked: CompletionRequest, key: str) -> TurnParameters:
        stop = asked.stop or ()
        return TurnParameters(
            model=asked.model or "",
            sampling=wishes(asked),
            max_tokens=asked.max_tokens or _TOKENS,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            top_logprobs=asked.logprobs,
            cache_scope="" if self._options.share_prompts else key,
            choices=asked.n or 1,
            caller=key,
        )

    async def _echoes(self, asked: CompletionRequest) -> Sequence[str]:
        """Give what stands before each continuation."""
        texts = [await self._text(prompt, asked) if asked.echo else "" for prompt in asked.prompts]
        return [text for text in texts for _ in range(asked.n or 1)]

    async def _text(self, prompt: Prompt, asked: CompletionRequest) -> str:
        if isinstance(prompt, str):
            return prompt
        return b"".join(await self._mesh.inference.detokenize(prompt, model=asked.model or "")).decode(errors="replace")

    async def _chunks(
        self, wanted: Continuations, completion: Completion, *, usage: bool
    ) -> AsyncGenerator[bytes, None]:
        options = self._options
        events = continued(wanted, self._mesh, at_once=options.max_choices, patience_seconds=options.patience_seconds)
        async with aclosing(events):
            async for number, event in events:
                if (chunk := completion.take(number, event)) is not None:
                    yield sse.block({**chunk, "usage": None} if usage else chunk)
        if usage:
            yield sse.block(completion.usage())
        yield sse.DONE

    async def _whole(self, shown: AsyncGenerator[bytes, None], completion: Completion, request: Request) -> Response:
        async def collected() -> Response:
            async with aclosing(shown):
                async for _ in shown:
                    pass
            return Response(orjson.dumps(completion.body()), media_type="application/json")

        return await unless_gone(request, collected()) or self._left()

    async def _stream(self, shown: AsyncGenerator[bytes, None], request: Request) -> Response:
        """Wait for the first sign of life, so that a refusal has a status of its own."""
        stream = sse.kept_alive(shown, seconds=self._options.keepalive_seconds)
        first = await unless_gone(request, anext(stream))
        if first is None:
            await stream.aclose()
            return self._left()
        return StreamingResponse(self._going_on(first, stream), media_type="text/event-stream", headers=sse.HEADERS)

    async def _going_on(self, first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Pass a stream on; what goes wrong from here on is told inside it."""
        ended = False
        with self._metrics.streams.track_inprogress():
            try:
                async with aclosing(rest):
                    yield first
                    async for piece in rest:
                        yield piece
                ended = True
            except MeshError as error:
                ended = True
                yield sse.block(body_of(error))
            finally:
                if not ended:
                    self._left()

    def _left(self) -> Response:
        self._metrics.disconnects.labels("cancel").inc()
        return LEFT


def _expected_tokens(asked: CompletionRequest) -> int:
    """Estimate what a request will use: each token of a prompt, and the continuations as long as they may be."""
    texts = text_tokens(each for each in asked.prompts if isinstance(each, str))
    read = texts + sum(len(each) for each in asked.prompts if not isinstance(each, str))
    return read + len(asked.prompts) * (asked.n or 1) * (asked.max_tokens or _TOKENS)


def _include_usage(asked: CompletionRequest) -> bool:
    return bool(asked.stream_options and asked.stream_options.include_usage)
