"""A backend without a model: says what a script tells it to. For tests, benchmarks and demonstrations.

It keeps every promise of a real backend, deterministically: the same request is answered by the same tokens, and
continues where `emitted_token_ids` end. Its tokens are words with the space before them.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from inference_svc.adapters.script import Rule, Script, Step
from inference_svc.adapters.script_moves import Move, Vocabulary, expanded, moves, numbered, split, token_of
from inference_svc.domain.answer import Answer, Called, Piece, Thought
from inference_svc.domain.events import Delta, Event, Finished, Phase, Progress, Started
from inference_svc.domain.example import example_of
from inference_svc.domain.lookup import Prediction
from inference_svc.domain.ports import Embeddings, Model, ModelState, Warmed
from inference_svc.domain.prefix import shared_prefix
from inference_svc.domain.prompt import Conversation, Grammar, JsonSchema, Prompt, RawPrompt
from inference_svc.domain.schema_budget import read_schema
from threadmesh.conversation import FinishReason, Message, Role, ToolChoiceMode, ToolDefinition, Usage, message
from threadmesh.errors import ContextLengthExceeded, InvalidArgument, Unsupported

NAME = "scripted"
_REMEMBERED = 64


class _Pieces:
    """The parser of an answer whose pieces are known beforehand."""

    complete = False
    held = ""

    def __init__(self) -> None:
        self.next: Piece | None = None
        self.called = False

    @property
    def thinking(self) -> bool:
        """Whether the next piece is a thought."""
        return isinstance(self.next, Thought)

    def feed(self, text: str) -> Sequence[Piece]:
        """Give the piece of this token."""
        del text
        piece, self.next = self.next, None
        self.called = self.called or isinstance(piece, Called)
        return (piece,) if piece else ()

    def finish(self) -> Sequence[Piece]:
        """Give nothing."""
        return ()


class _Steps:
    """Steps of all answers together, `seconds` apart."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._coming: asyncio.Event | None = None

    async def next(self) -> None:
        """Wait for the next step."""
        if self._coming is None:
            self._coming = asyncio.Event()
            loop = asyncio.get_running_loop()
            # At least half a step away: a timer may be a little early.
            loop.call_at((round(loop.time() / self._seconds) + 1) * self._seconds, self._step)
        await self._coming.wait()

    def _step(self) -> None:
        if self._coming is not None:
            self._coming.set()
        self._coming = None


class ScriptedBackend:
    """Follows a script."""

    def __init__(self, script: Script, *, created: int) -> None:
        self._script, self._created = script, created
        self._cached: dict[str, deque[tuple[int, ...]]] = {}
        self._vocabulary = Vocabulary()
        self._steps = _Steps(script.step_ms / 1000)
        self._fingerprint = f"{numbered(script.model_dump_json()):08x}"

    def describe(self) -> Model:
        """Say what this is; always ready."""
        return Model(
            name=NAME,
            backend=NAME,
            context_tokens=self._script.context_tokens,
            state=ModelState.READY,
            fingerprint=self._fingerprint,
            created=self._created,
        )

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer by the script."""
        tokens = self._read(prompt.conversation if prompt.raw is None else prompt.raw)
        rule, planned = self._plan(prompt)
        if rule and rule.refuse:
            raise rule.refuse.error()
        cached = self._remember(tokens, scope=prompt.cache_scope)
        seed = prompt.sampling.seed or 0
        yield Started(model=NAME, backend=NAME, fingerprint=self._fingerprint, prompt_tokens=len(tokens), seed=seed)
        yield Progress(phase=Phase.PREFILL, prefilled_tokens=cached, prompt_tokens=len(tokens))
        pieces = _Pieces()
        answer = Answer(stop=prompt.stop, parser=pieces)
        foreseen = Prediction([numbered(word) for word in split(prompt.prediction)])
        room = self._script.context_tokens - len(tokens)
        limit = min(room, prompt.max_tokens or room)
        for move in planned:
            if answer.over or answer.tokens >= limit:
                break
            _fail_in_time(rule, answer)
            foreseen.read([numbered(move.text)])
            for delta in await self._made(move, answer, pieces, prompt):
                yield delta
        whole = answer.over or answer.tokens == len(planned)
        if whole and rule and rule.fail:
            raise rule.fail.error()
        for delta in answer.finish():
            yield delta
        usage = Usage(
            prompt_tokens=len(tokens),
            cached_tokens=cached,
            completion_tokens=answer.tokens,
            reasoning_tokens=answer.reasoning_tokens,
            accepted_prediction_tokens=foreseen.accepted,
            rejected_prediction_tokens=foreseen.rejected,
        )
        yield Finished(reason=answer.reason(FinishReason.STOP if whole else FinishReason.LENGTH), usage=usage)

    async def warm(self, prompt: Prompt) -> Warmed:
        """Remember the conversation as cached."""
        tokens = self._read(prompt.conversation)
        return Warmed(prompt_tokens=len(tokens), cached_tokens=self._remember(tokens, scope=prompt.cache_scope))

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count words."""
        return len(self._vocabulary.tokens(counted))

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give words as numbers."""
        del special
        tokens = self._vocabulary.tokens(read)
        return tokens if ask or isinstance(read, str) else tokens[:-1]

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the words back that this backend has read."""
        return [word.encode() for word in self._vocabulary.words(tokens, field="ids")]

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Refuse."""
        del inputs, dimensions
        raise Unsupported("The scripted backend makes no embeddings.", model=NAME)

    async def ping(self) -> None:
        """Return: a script is always ready."""

    async def close(self) -> None:
        """Do nothing: there is nothing to free."""

    async def _made(self, move: Move, answer: Answer, pieces: _Pieces, prompt: Prompt) -> Sequence[Delta]:
        """Say one token; what another server has said already is sent only to those who want it again."""
        if move.piece is None:
            await asyncio.Event().wait()
        pieces.next = move.piece
        token = token_of(move.text, logprobs=prompt.logprobs)
        if answer.tokens >= len(prompt.emitted_token_ids):
            await (self._steps.next() if self._script.step_ms else asyncio.sleep(move.seconds))
            return answer.read(token)
        if token.id != prompt.emitted_token_ids[answer.tokens]:
            raise InvalidArgument("These tokens are not what this backend says.", field="emitted_token_ids")
        deltas = answer.read(token)
        return deltas if prompt.repeat_emitted else ()

    def _read(self, asked: Conversation | RawPrompt) -> tuple[int, ...]:
        tokens = asked if isinstance(asked, tuple) else self._vocabulary.tokens(asked)
        if not tokens:
            raise InvalidArgument("The prompt is empty, and this model has no token to begin with.", field="raw_prompt")
        if len(tokens) >= self._script.context_tokens:
            raise ContextLengthExceeded(
                field="messages" if isinstance(asked, Conversation) else "raw_prompt",
                prompt_tokens=len(tokens),
                context_tokens=self._script.context_tokens,
            )
        return tokens

    def _remember(self, tokens: tuple[int, ...], *, scope: str) -> int:
        known = self._cached.setdefault(scope, deque(maxlen=_REMEMBERED))
        cached = max((min(shared_prefix(each, tokens), len(tokens) - 1) for each in known), default=0)
        known.append(tokens)
        return cached

    def _plan(self, prompt: Prompt) -> tuple[Rule | None, list[Move]]:
        last = self._heard(prompt)
        found = self._script.rule_for(last.text, role=last.role.value)
        offered = _offered(prompt)
        turn = len(prompt.conversation.messages)
        if found is None:
            return None, list(moves(self._unscripted(prompt, last, offered), turn=turn))
        rule, match = found
        steps = [expanded(step, match) for step in rule.steps if step.tool_call is None or offered]
        forced = prompt.tool_choice.mode is ToolChoiceMode.REQUIRED
        if forced and not any(step.tool_call for step in steps):
            steps += self._unscripted(prompt, last, offered)
        return rule, list(moves(list(_wished(steps, prompt)), turn=turn))

    def _heard(self, prompt: Prompt) -> Message:
        """Give what is answered; a raw prompt is taken for what a person says."""
        if prompt.raw is None:
            return _last_heard(prompt.conversation.messages)
        raw = prompt.raw
        text = raw if isinstance(raw, str) else "".join(self._vocabulary.words(raw, field="raw_prompt.tokens.ids"))
        return message(Role.USER, text)

    def _unscripted(self, prompt: Prompt, last: Message, offered: Sequence[ToolDefinition]) -> list[Step]:
        if prompt.tool_choice.mode is ToolChoiceMode.REQUIRED:
            return [Step.model_validate({"tool_call": self._least_call(offered, among=prompt.conversation.tools)})]
        if isinstance(prompt.response_format, Grammar):
            raise Unsupported("The scripted backend follows no grammars.", field="response_format.grammar")
        if isinstance(prompt.response_format, JsonSchema):
            field = "response_format.json_schema.schema_json"
            form = prompt.response_format
            schema = read_schema(form.schema_json, field=field, lenient=form.lenient)
            return [Step(text=json.dumps(example_of(schema)))]
        if prompt.response_format is not None:
            return [Step(text=json.dumps({"echo": last.text}))]
        return [Step(text=f"The tool said: {last.text}" if last.role is Role.TOOL else f"You said: {last.text}")]

    def _least_call(self, offered: Sequence[ToolDefinition], *, among: Sequence[ToolDefinition]) -> dict[str, Any]:
        if not offered:
            raise InvalidArgument("A tool call is required but no such tool is offered.", field="tool_choice")
        tool = offered[0]
        field = f"tools[{among.index(tool)}].parameters_json"
        schema = read_schema(tool.parameters_json or "{}", field=field, lenient=True)
        arguments = self._script.arguments.get(tool.name, example_of({"type": "object", **schema}))
        return {"name": tool.name, "arguments": arguments}


def _offered(prompt: Prompt) -> list[ToolDefinition]:
    if prompt.tool_choice.mode is ToolChoiceMode.NONE:
        return []
    name = prompt.tool_choice.name
    return [tool for tool in prompt.conversation.tools if not name or tool.name == name]


def _wished(steps: Sequence[Step], prompt: Prompt) -> Iterator[Step]:
    """Leave out thoughts if they are not wanted, and what follows a call that is to be the only one."""
    for step in steps:
        if step.reasoning and prompt.conversation.thinking is False:
            continue
        yield step
        if step.tool_call and not prompt.parallel_tool_calls:
            return


def _last_heard(messages: Sequence[Message]) -> Message:
    heard = [message for message in messages if message.role in (Role.USER, Role.TOOL)]
    return heard[-1] if heard else messages[-1]


def _fail_in_time(rule: Rule | None, answer: Answer) -> None:
    if rule and rule.fail and answer.tokens >= rule.fail.after_tokens:
        raise rule.fail.error()
