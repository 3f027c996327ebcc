"""Requests as the engine's jobs: what is read, what may be drawn, and who reads the answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from inference_svc.adapters.llama_cpp import grammar
from inference_svc.adapters.llama_cpp.forced_tokens import forced_tokens
from inference_svc.adapters.llama_cpp.grammar_gate import GrammarGate
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.prompt_reader import PromptReader, ReadPrompt
from inference_svc.adapters.llama_cpp.reasoning_formats import ReasoningParser, begins_thinking, reasoning_format_of
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.adapters.llama_cpp.tool_formats import ToolCallParser, format_of
from inference_svc.domain.answer import Answer, Parser, Token
from inference_svc.domain.events import Delta
from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.lookup import Prediction
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.sampling import Drawing
from inference_svc.domain.thinking_grammar import after_thinking
from threadmesh.conversation import ToolChoiceMode
from threadmesh.errors import ContextLengthExceeded, InvalidArgument


class JobMaker:
    """Makes jobs for one model; safe to use from several threads."""

    def __init__(
        self,
        model: LoadedModel,
        template: ChatTemplate,
        prompts: PromptReader,
        *,
        gate: GrammarGate,
        context_tokens: int,
        usual: Drawing,
    ) -> None:
        """Prompt and answer fill `context_tokens` together at most; `usual` is how tokens are drawn by default."""
        self._model, self._template, self._prompts, self._gate = model, template, prompts, gate
        self._context_tokens, self._usual = context_tokens, usual
        self._form = format_of(template.source)
        self._reasoning = reasoning_format_of(template.source)
        thinking = (self._reasoning.begin, self._reasoning.end) if self._reasoning else ()
        for marker in (self._form.begin, self._form.end, *thinking):
            model.reveal(marker)

    def read(self, conversation: Conversation, *, ask: bool) -> ReadPrompt:
        """Give a conversation as the model reads it."""
        return self._prompts.read(conversation, ask=ask)

    def tokens(self, read: Conversation | str, *, special: bool, ask: bool) -> Sequence[int]:
        """Give the tokens of a conversation, or of a text, which is a raw prompt if it is `special`."""
        if not isinstance(read, str):
            return self.read(read, ask=ask).text
        return self._prompts.read_raw(read).tokens if special else self._model.tokenize(read, special=False)

    def _read(self, prompt: Prompt) -> ReadPrompt:
        if prompt.raw is not None:
            return self._prompts.read_raw(prompt.raw)
        offered = prompt.conversation.tools if grammar.callable_tools(prompt) else ()
        return self.read(replace(prompt.conversation, tools=offered), ask=True)

    def job(self, prompt: Prompt, drawing: Drawing, *, deliver: Callable[[list[Delivery]], None]) -> Job:
        """Turn a request into work for the engine. Raises what is wrong with the request."""
        read = self._read(prompt)
        room = self._room(read.cells, field="messages" if prompt.raw is None else "raw_prompt")
        limit = min(room, prompt.max_tokens or room)
        self._require_tokens(drawing)
        thinking = self._reasoning is not None and begins_thinking(read.segments, self._reasoning)
        sampler, answer, emitted, repeated = self._begin(prompt, drawing, read.text, limit=limit, thinking=thinking)
        if answer.over or answer.tokens >= limit:
            limit, emitted = 0, ()  # it was complete; all that is left is to say how it ended
        repeatable = prompt.sampling.seed is not None
        foreseen = Prediction(self._model.tokenize(prompt.prediction, special=False)) if prompt.prediction else None
        if foreseen is not None:
            foreseen.read(emitted)
        return Job(
            prompt=read.tokens,
            media=read.media,
            layout=read.layout,
            emitted=emitted,
            repeated=repeated,
            limit=limit,
            answer=answer,
            sampler=sampler,
            scope=_scope(prompt),
            tenant=prompt.caller,
            adapter=prompt.adapter,
            priority=prompt.priority,
            repeatable=repeatable,
            foreseen=foreseen,
            forced=None if repeatable or sampler.watches else forced_tokens(self._model, sampler.gbnf, said=emitted),
            deliver=deliver,
        )

    def _begin(
        self, prompt: Prompt, drawing: Drawing, tokens: Sequence[int], *, limit: int, thinking: bool
    ) -> tuple[TokenSampler, Answer, Sequence[int], Sequence[Delta]]:
        """Make sampler and answer; give the tokens to be read behind the prompt without being drawn, and their pieces.

        A sampler that learns from logits draws again what another server drew; the answer keeps silent about that.
        """
        make = partial(self._sampler, prompt, drawing, tokens, limit=limit, thinking=thinking)
        sampler, answer, emitted = make(), self._answer(prompt, thinking=thinking), prompt.emitted_token_ids
        repeated = self._replay(emitted, sampler, answer)
        if emitted and sampler.learns and not answer.over and answer.tokens < limit:
            silent = self._answer(prompt, thinking=thinking, silent=len(emitted))
            return make(again=emitted), silent, (), repeated
        return sampler, answer, emitted, repeated

    def _answer(self, prompt: Prompt, *, thinking: bool, silent: int = 0) -> Answer:
        parser: Parser | None = None
        if prompt.raw is not None:
            return Answer(stop=prompt.stop, silent=silent)
        if grammar.callable_tools(prompt):
            forced = prompt.tool_choice.mode is ToolChoiceMode.REQUIRED
            parser = ToolCallParser(self._form, single=self._single(prompt), forced=forced)
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
        gbnf = grammar.without_bad_tools(prompt, partial(self._grammar, freedom=freedom, thinking=thinking))
        if gbnf and drawing.ignore_eos:
            raise InvalidArgument("An answer of a given form must be able to end.", field="sampling.ignore_eos")
        return TokenSampler(self._model, drawing, grammar=gbnf, logprobs=prompt.logprobs, before=tokens, again=again)

    def _grammar(self, prompt: Prompt, *, freedom: Freedom, thinking: bool) -> str:
        """Give the grammar of an answer once it has been tried, empty if it is free."""
        gbnf = grammar.grammar_of(prompt, self._form, single=self._single(prompt), freedom=freedom)
        if gbnf and thinking and self._reasoning is not None:
            gbnf = after_thinking(gbnf, end=self._reasoning.end)
        if gbnf:
            self._gate.check(gbnf, scope=prompt.cache_scope, field=grammar.field_of(prompt))
        return gbnf

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
            sampler=TokenSampler(self._model, self._usual),
            scope=_scope(prompt),
            tenant=prompt.caller,
            adapter=prompt.adapter,
            priority=prompt.priority,
            deliver=deliver,
        )

    def _room(self, tokens: int, *, field: str = "messages") -> int:
        room = self._context_tokens - tokens
        if room <= 0:
            raise ContextLengthExceeded(field=field, prompt_tokens=tokens, context_tokens=self._context_tokens)
        return room

    def _require_tokens(self, drawing: Drawing) -> None:
        for token in drawing.logit_bias:
            if not 0 <= token < self._model.vocabulary:
                raise InvalidArgument("There is no such token.", field=f"sampling.logit_bias[{token}]")

    def _replay(self, emitted: Sequence[int], sampler: TokenSampler, answer: Answer) -> list[Delta]:
        """Bring sampler and answer to where another server left them; gives the pieces on the way."""
        deltas: list[Delta] = []
        for token in emitted:
            sampler.accept(token)
            deltas += answer.read(Token(id=token, piece=self._model.piece(token)))
        return deltas


def _scope(prompt: Prompt) -> str:
    """Give whom a KV cache may be shared with: what one adapter has computed is wrong for every other."""
    return f"{prompt.adapter}\0{prompt.cache_scope}"
