"""A loaded model with its template and its running engine: what turns requests into the engine's jobs."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from inference_svc.adapters.llama_cpp import grammar
from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.engine import Engine
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import ContextOptions, EngineOptions, ModelOptions, Observer
from inference_svc.adapters.llama_cpp.reasoning_formats import ReasoningParser, begins_thinking, reasoning_format_of
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job
from inference_svc.adapters.llama_cpp.template import ChatTemplate, Segment
from inference_svc.adapters.llama_cpp.tool_formats import ToolCallParser, format_of
from inference_svc.domain.answer import Answer, Parser, Token
from inference_svc.domain.events import Finished
from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.sampling import Drawing
from inference_svc.domain.thinking_grammar import after_thinking
from threadmesh.conversation import Role, message
from threadmesh.errors import ContextLengthExceeded, InvalidArgument, MeshError

_DEFAULT_CONTEXT = 8_192
_DEFAULT_CELLS = 16_384


class ServedModel:
    """A loaded model with its template and its running engine; made in a thread, because that takes seconds."""

    def __init__(self, path: Path, options: ModelOptions, observer: Observer) -> None:
        self.model = LoadedModel(path, gpu_layers=options.gpu_layers)
        self._options = options
        self.fingerprint = self.model.fingerprint()
        self._template = ChatTemplate(
            self.model.template, begin_text=self.model.begin_text, end_text=self.model.end_text
        )
        self._form = format_of(self._template.source)
        self._reasoning = reasoning_format_of(self._template.source)
        thinking = (self._reasoning.begin, self._reasoning.end) if self._reasoning else ()
        for marker in (self._form.begin, self._form.end, *thinking):
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

    def _engine(self, observer: Observer) -> Engine:
        options = self._options
        most = self.context_tokens * options.sequences
        cells = max(self.context_tokens, options.cells or min(most, _DEFAULT_CELLS))
        size = ContextOptions(cells=cells, sequences=options.sequences, batch=options.batch, threads=options.threads)
        engine = Engine(
            self.model,
            EngineOptions(sequences=options.sequences, cells=cells, batch=options.batch, queue=options.queue),
            context=lambda: Context(self.model, size),
            observer=observer,
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

    def prompt_tokens(self, conversation: Conversation, *, ask: bool) -> list[int]:
        """Give a conversation as the model reads it."""
        return self._tokens(self._template.render(conversation, ask=ask))

    def _tokens(self, segments: Sequence[Segment]) -> list[int]:
        tokens: list[int] = []
        for segment in segments:
            tokens += self.model.tokenize(segment.text, special=segment.template)
        begin = self.model.begin_token
        return [begin, *tokens] if begin is not None and tokens[:1] != [begin] else tokens

    def job(self, prompt: Prompt, drawing: Drawing, *, deliver: Callable[[Delivery], None]) -> Job:
        """Turn a request into work for the engine. Raises what is wrong with the request."""
        offered = prompt.conversation.tools if grammar.callable_tools(prompt) else ()
        segments = self._template.render(replace(prompt.conversation, tools=offered), ask=True)
        tokens = self._tokens(segments)
        room = self._room([*tokens, *prompt.emitted_token_ids]) + len(prompt.emitted_token_ids)
        limit = min(room, prompt.max_tokens or room)
        self._require_tokens(drawing)
        thinking = self._reasoning is not None and begins_thinking(segments, self._reasoning)
        sampler, answer, emitted = self._begin(prompt, drawing, tokens, limit=limit, thinking=thinking)
        return Job(
            prompt=tokens,
            emitted=emitted,
            limit=limit,
            answer=answer,
            sampler=sampler,
            scope=prompt.cache_scope,
            priority=prompt.priority,
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

    def reading(self, prompt: Prompt, *, deliver: Callable[[Delivery], None]) -> Job:
        """Turn a conversation into work that only reads it."""
        tokens = self.prompt_tokens(prompt.conversation, ask=False)
        self._room(tokens)
        return Job(
            prompt=tokens,
            limit=0,
            answer=Answer(),
            sampler=TokenSampler(self.model, self._options.drawing),
            scope=prompt.cache_scope,
            priority=prompt.priority,
            deliver=deliver,
        )

    def _room(self, tokens: Sequence[int]) -> int:
        room = self.context_tokens - len(tokens)
        if room <= 0:
            raise ContextLengthExceeded(field="messages", prompt_tokens=len(tokens), context_tokens=self.context_tokens)
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
        """Stop the engine, then free the model."""
        self.engine.close()
        self.model.close()


class _Ending:
    """Waits in one thread for the end of a job that another one delivers."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._error: MeshError | None = None

    def __call__(self, delivery: Delivery) -> None:
        if isinstance(delivery, MeshError):
            self._error = delivery
        if isinstance(delivery, Finished | MeshError):
            self._event.set()

    def wait(self) -> None:
        self._event.wait()
        if self._error is not None:
            raise self._error
