"""A loaded model with its template and its running engine: what turns requests into the engine's jobs."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from inference_svc.adapters.llama_cpp import grammar
from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.engine import Engine
from inference_svc.adapters.llama_cpp.forced_tokens import forced_tokens
from inference_svc.adapters.llama_cpp.inspection import Kind, context_tokens
from inference_svc.adapters.llama_cpp.lora import Adapters
from inference_svc.adapters.llama_cpp.media import MediaReader
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import (
    CacheOptions,
    ContextOptions,
    EngineOptions,
    ModelOptions,
    Observer,
)
from inference_svc.adapters.llama_cpp.prompt_reader import PromptReader, ReadPrompt
from inference_svc.adapters.llama_cpp.reasoning_formats import ReasoningParser, begins_thinking, reasoning_format_of
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.adapters.llama_cpp.tool_formats import ToolCallParser, format_of
from inference_svc.adapters.llama_cpp.weights import load_weights
from inference_svc.domain.answer import Answer, Parser, Token
from inference_svc.domain.events import Finished
from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.pace import thread_numbers
from inference_svc.domain.ports import Capability
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.sampling import Drawing
from inference_svc.domain.speculation import Speculation
from inference_svc.domain.thinking_grammar import after_thinking
from threadmesh.conversation import Role, message
from threadmesh.errors import ContextLengthExceeded, InvalidArgument, MeshError

log = structlog.get_logger()

_DEFAULT_CELLS = 16_384
_MOST_SLOTS = 256
"""What llama.cpp was built for."""
_IDLE_SLOTS = 32
_GUESSES = 16
"""Most tokens that guesses add to one step."""


def serve(path: Path, options: ModelOptions, observer: Observer) -> "ServedModel":
    """Load a model and start its engine, which takes seconds. Raises `ModelFileError`, and holds no memory then."""
    model = load_weights(path, options)
    try:
        return ServedModel(model, options, observer)
    except BaseException:
        model.close()
        raise


class ServedModel:
    """A loaded model with its template, its adapters and its running engine."""

    def __init__(self, model: LoadedModel, options: ModelOptions, observer: Observer) -> None:
        self.model = model
        self._options = options
        self.fingerprint = self.model.fingerprint()
        self._template = ChatTemplate(
            self.model.template, begin_text=self.model.begin_text, end_text=self.model.end_text
        )
        self.media = _media(model, options)
        self._prompts = PromptReader(self.model, self._template, media=self.media)
        self._form = format_of(self._template.source)
        self._reasoning = reasoning_format_of(self._template.source)
        thinking = (self._reasoning.begin, self._reasoning.end) if self._reasoning else ()
        for marker in (self._form.begin, self._form.end, *thinking):
            self.model.reveal(marker)
        self.context_tokens = context_tokens(
            Kind.CHAT,
            wanted=options.context_tokens,
            trained=self.model.trained_tokens,
            beyond_training=options.rope_override,
        )
        self._adapters = Adapters(model, options.adapters)
        self.engine = self._engine(observer)
        try:
            self._warm_up()
        except BaseException:
            self.close()
            raise

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What it can be asked for."""
        sees = self.media is not None and self.media.sees
        hears = self.media is not None and self.media.hears
        senses = ((Capability.IMAGE_INPUT, sees), (Capability.AUDIO_INPUT, hears))
        return (Capability.GENERATE, *(sense for sense, there in senses if there))

    @property
    def details(self) -> dict[str, str]:
        """What the operator may want to know of how it computes."""
        options = self._options
        return {
            "weights": self.model.form,
            "threads": f"{self.engine.threads} of {options.threads}",
            "sequences": str(options.sequences),
            "speculation": options.speculation,
            "flash_attention": options.device.flash_attention,
        }

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
            context=lambda: Context(self.model, size, self._adapters),
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
        offered = prompt.conversation.tools if grammar.callable_tools(prompt) else ()
        read = self.read(replace(prompt.conversation, tools=offered), ask=True)
        room = self._room(read.cells + len(prompt.emitted_token_ids)) + len(prompt.emitted_token_ids)
        limit = min(room, prompt.max_tokens or room)
        self._require_tokens(drawing)
        thinking = self._reasoning is not None and begins_thinking(read.segments, self._reasoning)
        sampler, answer, emitted = self._begin(prompt, drawing, read.text, limit=limit, thinking=thinking)
        repeatable = prompt.sampling.seed is not None
        return Job(
            prompt=read.tokens,
            media=read.media,
            layout=read.layout,
            emitted=emitted,
            limit=limit,
            answer=answer,
            sampler=sampler,
            scope=_scope(prompt),
            tenant=prompt.cache_scope,
            adapter=prompt.adapter,
            priority=prompt.priority,
            repeatable=repeatable,
            forced=None if repeatable else forced_tokens(self.model, sampler.gbnf, said=emitted),
            deliver=deliver,
        )

    def _begin(
        self, prompt: Prompt, drawing: Drawing, tokens: Sequence[int], *, limit: int, thinking: bool
    ) -> tuple[TokenSampler, Answer, Sequence[int]]:
        """Make sampler and answer, and give the tokens to be read behind the prompt without being drawn.

        A sampler that learns from logits draws again what another server drew; the answer keeps silent about that.
        """
        make = partial(self._sampler, prompt, drawing, tokens, limit=limit, thinking=thinking)
        sampler, answer, emitted = make(), self._answer(prompt, thinking=thinking), prompt.emitted_token_ids
        self._replay(emitted, sampler, answer)
        if answer.over or answer.tokens >= limit:
            raise InvalidArgument("The answer was complete already.", field="emitted_token_ids")
        if emitted and sampler.learns:
            silent = self._answer(prompt, thinking=thinking, silent=len(emitted))
            return make(again=emitted), silent, ()
        return sampler, answer, emitted

    def _answer(self, prompt: Prompt, *, thinking: bool, silent: int = 0) -> Answer:
        parser: Parser | None = None
        if grammar.callable_tools(prompt):
            parser = ToolCallParser(self._form, single=self._single(prompt))
        if self._reasoning is not None:
            parser = ReasoningParser(self._reasoning, thinking=thinking, answer=parser)
        return Answer(stop=prompt.stop, parser=parser, silent=silent)

    def _single(self, prompt: Prompt) -> bool:
        return grammar.single_call(prompt, knows_tools=self._template.knows_tools)

    def _sampler(
        self,
        prompt: Prompt,
        drawing: Drawing,
        tokens: Sequence[int],
        *,
        limit: int,
        thinking: bool,
        again: Sequence[int] = (),
    ) -> TokenSampler:
        """Make the sampler. Calls that are forced on a model that was not taught any are drawn greedily by default."""
        freedom = Freedom()
        if grammar.calls_untaught(prompt, knows_tools=self._template.knows_tools):
            freedom = grammar.freedom_within(limit)
            drawing = replace(drawing, temperature=prompt.sampling.temperature or 0.0)
        gbnf = grammar.grammar_of(prompt, self._form, single=self._single(prompt), freedom=freedom)
        if gbnf and drawing.ignore_eos:
            raise InvalidArgument("An answer of a given form must be able to end.", field="sampling.ignore_eos")
        if gbnf and thinking and self._reasoning is not None:
            gbnf = after_thinking(gbnf, end=self._reasoning.end)
        return TokenSampler(self.model, drawing, grammar=gbnf, logprobs=prompt.logprobs, before=tokens, again=again)

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
            scope=_scope(prompt),
            tenant=prompt.cache_scope,
            adapter=prompt.adapter,
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
        self._adapters.close()
        self.model.close()


def _scope(prompt: Prompt) -> str:
    """Give whom a KV cache may be shared with: what one adapter has computed is wrong for every other."""
    return f"{prompt.adapter}\0{prompt.cache_scope}"


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
