"""A loaded model with its template and its running engine: what turns requests into the engine's jobs."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from inference_svc.adapters.llama_cpp import grammar
from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.engine import Engine
from inference_svc.adapters.llama_cpp.grammar_gate import GrammarGate
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import ContextOptions, EngineOptions, ModelOptions, Observer
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.adapters.llama_cpp.tool_formats import ToolCallParser, format_of
from inference_svc.domain.answer import Answer, Token
from inference_svc.domain.events import Finished
from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.sampling import Drawing
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
        for marker in (self._form.begin, self._form.end):
            self.model.reveal(marker)
        self.context_tokens = min(
            options.context_tokens or _DEFAULT_CONTEXT, self.model.trained_tokens or _DEFAULT_CONTEXT
        )
        self._gate = GrammarGate(path, seconds=options.grammar_seconds)
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
        tokens: list[int] = []
        for segment in self._template.render(conversation, ask=ask):
            tokens += self.model.tokenize(segment.text, special=segment.template)
        begin = self.model.begin_token
        return [begin, *tokens] if begin is not None and tokens[:1] != [begin] else tokens

    def job(self, prompt: Prompt, drawing: Drawing, *, deliver: Callable[[Delivery], None]) -> Job:
        """Turn a request into work for the engine. Raises what is wrong with the request."""
        tools = grammar.callable_tools(prompt)
        offered = prompt.conversation.tools if tools else ()
        tokens = self.prompt_tokens(replace(prompt.conversation, tools=offered), ask=True)
        room = self._room([*tokens, *prompt.emitted_token_ids]) + len(prompt.emitted_token_ids)
        limit = min(room, prompt.max_tokens or room)
        single = grammar.single_call(prompt, knows_tools=self._template.knows_tools)
        self._require_tokens(drawing)
        sampler = self._sampler(prompt, drawing, limit=limit, single=single)
        answer = Answer(stop=prompt.stop, parser=ToolCallParser(self._form, single=single) if tools else None)
        self._replay(prompt.emitted_token_ids, sampler, answer)
        if answer.over or answer.tokens >= limit:
            raise InvalidArgument("The answer was complete already.", field="emitted_token_ids")
        return Job(
            prompt=tokens,
            emitted=prompt.emitted_token_ids,
            limit=limit,
            answer=answer,
            sampler=sampler,
            scope=prompt.cache_scope,
            priority=prompt.priority,
            deliver=deliver,
        )

    def _sampler(self, prompt: Prompt, drawing: Drawing, *, limit: int, single: bool) -> TokenSampler:
        """Make the sampler. Calls that are forced on a model that was not taught any are drawn greedily by default."""
        freedom = Freedom()
        if grammar.calls_untaught(prompt, knows_tools=self._template.knows_tools):
            freedom = grammar.freedom_within(limit)
            drawing = replace(drawing, temperature=prompt.sampling.temperature or 0.0)
        gbnf = grammar.grammar_of(prompt, self._form, single=single, freedom=freedom)
        if gbnf:
            self._gate.check(gbnf, scope=prompt.cache_scope, field=grammar.field_of(prompt))
        return TokenSampler(self.model, drawing, grammar=gbnf, logprobs=prompt.logprobs)

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
        self._gate.close()
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
