"""A loaded model with its template and its running engine: what turns requests into the engine's jobs."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from inference_svc.adapters.llama_cpp import grammar
from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.engine import Engine
from inference_svc.adapters.llama_cpp.media import MediaReader
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import (
    CacheOptions,
    ContextOptions,
    EngineOptions,
    ModelOptions,
    Observer,
)
from inference_svc.adapters.llama_cpp.prompt_reader import PromptReader, ReadPrompt
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.adapters.llama_cpp.tool_formats import ToolCallParser, format_of
from inference_svc.adapters.llama_cpp.weights import load_weights
from inference_svc.domain.answer import Answer, Token
from inference_svc.domain.events import Finished
from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.pace import thread_numbers
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.sampling import Drawing
from inference_svc.domain.speculation import Speculation
from threadmesh.conversation import Role, message
from threadmesh.errors import ContextLengthExceeded, InvalidArgument, MeshError

log = structlog.get_logger()

_DEFAULT_CONTEXT = 8_192
_DEFAULT_CELLS = 16_384
_MOST_SLOTS = 256
"""What llama.cpp was built for."""
_IDLE_SLOTS = 32
_GUESSES = 16
"""Most tokens that guesses add to one step."""


class ServedModel:
    """A loaded model with its template and its running engine; made in a thread, because that takes seconds."""

    def __init__(self, path: Path, options: ModelOptions, observer: Observer) -> None:
        self.model = load_weights(path, options)
        self._options = options
        self.fingerprint = self.model.fingerprint()
        self._template = ChatTemplate(
            self.model.template, begin_text=self.model.begin_text, end_text=self.model.end_text
        )
        try:
            self.media = _media(self.model, options)
        except ModelFileError:
            self.model.close()
            raise
        self._prompts = PromptReader(self.model, self._template, media=self.media)
        self._form = format_of(self._template.source)
        for marker in (self._form.begin, self._form.end):
            self.model.reveal(marker)
        self.context_tokens = min(
            options.context_tokens or _DEFAULT_CONTEXT, self.model.trained_tokens or _DEFAULT_CONTEXT
        )
        self.engine = self._engine(observer)
        try:
            self._warm_up()
        except BaseException:
            self.close()
            raise

    @property
    def details(self) -> dict[str, str]:
        """What the operator may want to know of how it computes."""
        return {"weights": self.model.form}

    def _engine(self, observer: Observer) -> Engine:
        options = self._options
        most = self.context_tokens * options.sequences
        cells = max(self.context_tokens, options.cells or min(most, _DEFAULT_CELLS))
        slots = min(_MOST_SLOTS, options.sequences + _IDLE_SLOTS)
        speculation = options.speculation if self.model.reusable else Speculation.OFF
        size = ContextOptions(
            cells=cells,
            slots=slots,
            rows=max(slots, options.sequences + _GUESSES),
            batch=options.batch,
            threads=options.threads,
            device=options.device,
        )
        cache = CacheOptions(
            slots=slots, cells=cells, idle=options.idle, parked=options.parked, cuttable=self.model.reusable
        )
        engine = Engine(
            self.model,
            EngineOptions(
                sequences=options.sequences,
                batch=options.batch,
                queue=options.queue,
                threads=(options.threads,) if options.pinned else thread_numbers(options.threads),
                cache=cache,
                speculation=speculation,
                guesses=_GUESSES,
            ),
            context=lambda: Context(self.model, size),
            observer=observer,
            media=self.media,
        )
        engine.start()
        return engine

    def _warm_up(self) -> None:
        """Draw one token, so that the weights are in memory before anybody waits for them."""
        hello = Conversation(messages=(message(Role.USER, "Hello"),))
        prompt = Prompt(conversation=hello, max_tokens=1, cache_scope="warm-up")
        ended = _Ending()
        self.engine.submit(self.job(prompt, self._options.drawing, deliver=ended))
        ended.wait()

    def read(self, conversation: Conversation, *, ask: bool) -> ReadPrompt:
        """Give a conversation as the model reads it."""
        return self._prompts.read(conversation, ask=ask)

    def encode(self, job: Job) -> None:
        """Compute a job's images and sounds, so that the engine need not. Raises `Internal` if it fails."""
        for chunk in job.media.values():
            assert self.media is not None
            self.media.encode(chunk)

    def job(self, prompt: Prompt, drawing: Drawing, *, deliver: Callable[[list[Delivery]], None]) -> Job:
        """Turn a request into work for the engine. Raises what is wrong with the request."""
        tools = grammar.callable_tools(prompt)
        offered = prompt.conversation.tools if tools else ()
        read = self.read(replace(prompt.conversation, tools=offered), ask=True)
        emitted = len(prompt.emitted_token_ids)
        room = self._room(read.cells + emitted) + emitted
        limit = min(room, prompt.max_tokens or room)
        single = grammar.single_call(prompt, knows_tools=self._template.knows_tools)
        self._require_tokens(drawing)
        sampler = self._sampler(prompt, drawing, limit=limit, single=single)
        answer = Answer(stop=prompt.stop, parser=ToolCallParser(self._form, single=single) if tools else None)
        self._replay(prompt.emitted_token_ids, sampler, answer)
        if answer.over or answer.tokens >= limit:
            raise InvalidArgument("The answer was complete already.", field="emitted_token_ids")
        return Job(
            prompt=read.tokens,
            media=read.media,
            layout=read.layout,
            emitted=prompt.emitted_token_ids,
            limit=limit,
            answer=answer,
            sampler=sampler,
            scope=prompt.cache_scope,
            priority=prompt.priority,
            repeatable=prompt.sampling.seed is not None,
            deliver=deliver,
        )

    def _sampler(self, prompt: Prompt, drawing: Drawing, *, limit: int, single: bool) -> TokenSampler:
        """Make the sampler. Calls that are forced on a model that was not taught any are drawn greedily by default."""
        freedom = Freedom()
        if grammar.calls_untaught(prompt, knows_tools=self._template.knows_tools):
            freedom = grammar.freedom_within(limit)
            drawing = replace(drawing, temperature=prompt.sampling.temperature or 0.0)
        gbnf = grammar.grammar_of(prompt, self._form, single=single, freedom=freedom)
        return TokenSampler(self.model, drawing, grammar=gbnf, logprobs=prompt.logprobs)

    def reading(self, prompt: Prompt, *, deliver: Callable[[list[Delivery]], None]) -> Job:
        """Turn a conversation into work that only reads it."""
        read = self.read(prompt.conversation, ask=False)
        self._room(read.cells)
        return Job(
            prompt=read.tokens,
            media=read.media,
            layout=read.layout,
            limit=0,
            answer=Answer(),
            sampler=TokenSampler(self.model, self._options.drawing),
            scope=prompt.cache_scope,
            priority=prompt.priority,
            deliver=deliver,
        )

    def _room(self, tokens: int) -> int:
        room = self.context_tokens - tokens
        if room <= 0:
            raise ContextLengthExceeded(field="messages", prompt_tokens=tokens, context_tokens=self.context_tokens)
        return room

    def _require_tokens(self, drawing: Drawing) -> None:
        for token in drawing.logit_bias:
            if not 0 <= token < self.model.vocabulary:
                raise InvalidArgument("There is no such token.", field=f"sampling.logit_bias[{token}]")

    def _replay(self, emitted: Sequence[int], sampler: TokenSampler, answer: Answer) -> None:
        """Bring sampler and answer to where another server left them."""
        for token in emitted:
            sampler.accept(token)
            answer.read(Token(id=token, piece=self.model.piece(token)))

    def close(self) -> None:
        """Stop the engine, then free the projector and the model."""
        self.engine.close()
        if self.media is not None:
            self.media.close()
        self.model.close()


def _media(model: LoadedModel, options: ModelOptions) -> MediaReader | None:
    """Open the projector; a file beside the model that looks like one is only named."""
    if options.projector is None:
        for found in sorted(model.path.parent.glob("*mmproj*.gguf")):
            log.info("model.projector_not_used", model=options.name, file=str(found), setting="INFERENCE_PROJECTOR")
        return None
    return MediaReader(
        options.projector, model, threads=options.threads, batch=options.batch, gpu=options.device.gpu_layers != 0
    )


class _Ending:
    """Waits in one thread for the end of a job that another one delivers."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._error: MeshError | None = None

    def __call__(self, deliveries: list[Delivery]) -> None:
        last = deliveries[-1]
        if isinstance(last, MeshError):
            self._error = last
        if isinstance(last, Finished | MeshError):
            self._event.set()

    def wait(self) -> None:
        self._event.wait()
        if self._error is not None:
            raise self._error
