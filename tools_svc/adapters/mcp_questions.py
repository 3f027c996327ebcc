"""What MCP servers ask, to and from the domain's values. Pure functions over the JSON of the protocol."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadmesh.conversation import Message, Role, Text
from threadmesh.errors import ToolAnswerUnreadable, ToolInputRequired, UnsupportedSchema
from threadmesh.forms import LARGEST_BYTES, FormSchema
from threadmesh.questions import Answer, AnswerAction, Form, Question, SamplingRequest
from tools_svc.adapters.mcp_values import clean, tool_output
from tools_svc.domain.call import Asked, ToolOutput

_LONGEST_NAME = 256
_LONGEST_MESSAGE = 8_000
_LONGEST_CONVERSATION = 64 * 1024
_LONGEST_STATE = 64 * 1024
_MOST_QUESTIONS, _MOST_MESSAGES, _MOST_STOPS = 16, 64, 4
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a server may ask for: a person's input by a form (`elicitation`), a model's words (`sampling`)."""

    elicitation: bool = False
    sampling: bool = False

    @property
    def anything(self) -> bool:
        """Whether it may ask for something."""
        return self.elicitation or self.sampling


NOTHING = Allowed()


def answered_or_asked(raw: Mapping[str, Any], allowed: Allowed) -> ToolOutput | Asked:
    """Read what a call came to: its result, or questions in the place of it, perhaps none but the wish to be called
    again. Raises `ToolInputRequired` for a question that is not allowed, and `ToolAnswerUnreadable`.
    """
    if raw.get("resultType") != "input_required" or not allowed.anything:
        return tool_output(raw)
    requests, state = raw.get("inputRequests") or {}, raw.get("requestState") or ""
    if not isinstance(requests, dict) or not isinstance(state, str):
        raise ToolAnswerUnreadable("The tool asks for something, but in a form that cannot be read.")
    if len(requests) > _MOST_QUESTIONS or len(state.encode("utf-8", "replace")) > _LONGEST_STATE:
        raise ToolInputRequired("The tool asks for more than can be passed on; it was not finished.")
    questions = tuple(question(key, request, allowed) for key, request in requests.items())
    return Asked(questions=questions, request_state=state)


def question(name: str, request: Any, allowed: Allowed) -> Question:
    """Read a question that goes by this name; raises `ToolInputRequired`, saying why, if it cannot be asked."""
    match request:
        case {"method": "elicitation/create", "params": dict() as params} if (
            allowed.elicitation and 0 < len(name) <= 256
        ):
            return Question(id=clean(name), asked=_form(params))
        case {"method": "sampling/createMessage", "params": dict() as params} if allowed.sampling and len(name) <= 256:
            return Question(id=clean(name), asked=_sampling(params))
        case {"method": str(method)}:
            raise _refused(f"The servers file does not let it send {method[:64]}.")
        case _:
            raise ToolAnswerUnreadable("The tool asks for something, but in a form that cannot be read.")


def responses(answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """Give the answers as the protocol has them; raises `ToolInputRequired` where a model did not answer."""
    return {answer.question_id: response(answer) for answer in answers}


def response(answer: Answer) -> dict[str, Any]:
    """Give an answer as the protocol has it; raises `ToolInputRequired` where a model did not answer."""
    if not answer.model:
        content = {"content": json.loads(answer.content_json)} if answer.action is AnswerAction.ACCEPT else {}
        return {"action": answer.action.value, **content}
    if answer.action is not AnswerAction.ACCEPT:
        raise ToolInputRequired("The tool asked for a model's words, and no model answered; it was not finished.")
    said = {"type": "text", "text": answer.text}
    stopped = "maxTokens" if answer.truncated else "endTurn"
    return {"role": "assistant", "content": said, "model": answer.model, "stopReason": stopped}


def _form(params: Mapping[str, Any]) -> Form:
    match params:
        case {"message": str(message), "requestedSchema": dict() as schema} if params.get("mode", "form") == "form":
            schema_json = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
        case _:
            raise _refused("It is no form.")
    if len(message) > _LONGEST_MESSAGE or len(schema_json.encode("utf-8", "replace")) > LARGEST_BYTES:
        raise _refused("Its form is too large.")
    try:
        FormSchema(schema_json)
    except UnsupportedSchema as error:
        raise _refused(error.message) from error
    return Form(message=clean(message), schema_json=clean(schema_json))


def _sampling(params: Mapping[str, Any]) -> SamplingRequest:
    if params.get("tools"):
        raise _refused("A model gets no tools from it.")
    match params:
        case {"messages": [_, *_] as messages, "maxTokens": int(most)} if len(messages) <= _MOST_MESSAGES and most > 0:
            said = [_message(each) for each in messages]
        case _:
            raise _refused("Its conversation is empty, too long or without a limit of tokens.")
    if isinstance(system := params.get("systemPrompt"), str) and system:
        said.insert(0, Message(role=Role.SYSTEM, parts=(Text(text=clean(system)),)))
    if sum(len(message.text) for message in said) > _LONGEST_CONVERSATION:
        raise _refused("Its conversation is too long.")
    temperature, stops = params.get("temperature"), params.get("stopSequences") or []
    return SamplingRequest(
        messages=tuple(said),
        max_tokens=min(most, 2**31 - 1),
        temperature=float(temperature) if isinstance(temperature, int | float) else None,
        stop=tuple(stop for stop in stops if isinstance(stop, str) and stop)[:_MOST_STOPS],
    )


def _message(raw: Any) -> Message:
    match raw:
        case {"role": str(role), "content": content} if role in _ROLES:
            blocks = content if isinstance(content, list) else [content]
            return Message(role=_ROLES[role], parts=tuple(map(_text, blocks)))
        case _:
            raise _refused("A message of its conversation is of an unknown kind.")


def _text(block: Any) -> Text:
    match block:
        case {"type": "text", "text": str(text)}:
            return Text(text=clean(text))
        case _:
            raise _refused("Its conversation holds more than text.")


def _refused(why: str) -> ToolInputRequired:
    return ToolInputRequired(f"The tool asks for something that it is not given; it was not finished. {why}")
