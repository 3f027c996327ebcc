"""The grammar of an answer: its response format, or the tool calls that it must hold."""

import json
from collections.abc import Callable
from dataclasses import replace

import structlog

from inference_svc.adapters.llama_cpp.tool_formats import ToolFormat
from inference_svc.domain.gbnf_budget import check_gbnf
from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.pattern_grammar import quote
from inference_svc.domain.prompt import Grammar, JsonObject, JsonSchema, Prompt, ResponseFormat
from inference_svc.domain.schema_grammar import SchemaGrammar
from threadmesh.conversation import ToolChoiceMode, ToolDefinition
from threadmesh.errors import InvalidArgument, UnsupportedSchema

log = structlog.get_logger()

MAX_CALLS = 8
"""Calls that one forced answer may hold."""

_NO_PARAMETERS = '{"type": "object", "properties": {}, "additionalProperties": false}'


def callable_tools(prompt: Prompt) -> tuple[ToolDefinition, ...]:
    """Give the tools that the answer may call. Raises `InvalidArgument` where the choice cannot be followed."""
    tools, choice = prompt.conversation.tools, prompt.tool_choice
    if choice.mode is ToolChoiceMode.NONE:
        return ()
    if choice.name and not any(tool.name == choice.name for tool in tools):
        raise InvalidArgument("The tool choice names a tool that is not offered.", field="tool_choice.name")
    if choice.mode is ToolChoiceMode.REQUIRED and not tools:
        raise InvalidArgument("A tool call is required but no tool is offered.", field="tool_choice")
    return tuple(tool for tool in tools if not choice.name or tool.name == choice.name)


def single_call(prompt: Prompt, *, knows_tools: bool) -> bool:
    """Whether the answer ends with its first call.

    Where calls are forced on a model that was not taught to call, nothing tells it when to stop calling.
    """
    untaught = calls_untaught(prompt, knows_tools=knows_tools)
    return bool(prompt.tool_choice.name) or not prompt.parallel_tool_calls or untaught


def calls_untaught(prompt: Prompt, *, knows_tools: bool) -> bool:
    """Whether a call is forced on a model that was not taught to call tools."""
    return prompt.tool_choice.mode is ToolChoiceMode.REQUIRED and not knows_tools


def freedom_within(room: int) -> Freedom:
    """Say how long the arguments of a call may be that must be complete within `room` tokens.

    Models that were not taught to call tools do not know when to end a text. One token a character is the worst case.
    """
    return Freedom(characters=max(16, min(200, room // 4)), items=8, depth=2)


def grammar_of(prompt: Prompt, form: ToolFormat, *, single: bool, freedom: Freedom) -> str:
    """Give the GBNF that the answer must follow, empty if it is free.

    `freedom` holds for the arguments of forced calls. Raises `UnsupportedSchema` for what cannot be guaranteed or is
    beyond the budget.
    """
    tools = callable_tools(prompt)
    if prompt.tool_choice.mode is ToolChoiceMode.REQUIRED:
        rules = SchemaGrammar(freedom=freedom)
        return rules.text(_calls(rules, prompt, form, single=single))
    if prompt.response_format is None:
        return ""
    if isinstance(prompt.response_format, Grammar):
        return check_gbnf(prompt.response_format.gbnf, field="response_format.grammar")
    rules = SchemaGrammar()
    answer = _answer(rules, prompt.response_format)
    return rules.text(f"{answer} | {_calls(rules, prompt, form, single=single)}" if tools else answer)


def without_bad_tools(prompt: Prompt, tried: Callable[[Prompt], str]) -> str:
    """Give the grammar of a request once it has been `tried`, which raises `UnsupportedSchema`.

    A tool that spoils it is left out with a warning, if others can be called and it does not insist on its schema.
    """
    try:
        return tried(prompt)
    except UnsupportedSchema:
        if prompt.tool_choice.mode is not ToolChoiceMode.REQUIRED or prompt.tool_choice.name:
            raise
        tools = prompt.conversation.tools
        good = tuple(tool for tool in tools if _passes(_with_tools(prompt, (tool,)), tried))
        bad = [tool for tool in tools if tool not in good]
        if not good or not bad or any(tool.strict for tool in bad):
            raise
    return tried(_with_tools(prompt, good))


def _with_tools(prompt: Prompt, tools: tuple[ToolDefinition, ...]) -> Prompt:
    return replace(prompt, conversation=replace(prompt.conversation, tools=tools))


def _passes(prompt: Prompt, tried: Callable[[Prompt], str]) -> bool:
    try:
        tried(prompt)
    except UnsupportedSchema as error:
        name = prompt.conversation.tools[0].name
        log.warning("grammar.tool_left_out", tool=name, field=error.field, problem=error.message)
        return False
    return True


def field_of(prompt: Prompt) -> str:
    """Give the field of the request that its grammar is made from."""
    if prompt.tool_choice.mode is ToolChoiceMode.REQUIRED:
        return "tools"
    return "response_format.grammar" if isinstance(prompt.response_format, Grammar) else "response_format"


def _answer(rules: SchemaGrammar, wanted: ResponseFormat) -> str:
    match wanted:
        case JsonSchema(schema_json=schema_json, lenient=lenient):
            return rules.schema(schema_json, field="response_format.json_schema.schema_json", lenient=lenient)
        case JsonObject() | Grammar():
            return rules.object()


def _calls(rules: SchemaGrammar, prompt: Prompt, form: ToolFormat, *, single: bool) -> str:
    tools = callable_tools(prompt)
    named = prompt.tool_choice.mode is ToolChoiceMode.REQUIRED and bool(prompt.tool_choice.name)
    required = named or len(tools) == 1
    numbered = ((prompt.conversation.tools.index(tool), tool) for tool in tools)
    calls = [call for index, tool in numbered if (call := _call(rules, tool, form, index=index, required=required))]
    if not calls:
        raise UnsupportedSchema(
            "No tool has parameters that can be guaranteed.", field="tools", kind="schema_unsupported"
        )
    call = rules.rule(" | ".join(calls), hint="call")
    if form.listed:
        more = "" if single else f' (", " {call}){{0,{MAX_CALLS - 1}}}'
        return f'{quote(form.begin + "[")} {call}{more} "]"'
    if form.bare:
        more = "" if single else f' ("; " {call}){{0,{MAX_CALLS - 1}}}'
        return f"{call}{more}"
    marked = rules.rule(f"{quote(form.begin + chr(10))} {call} {quote(chr(10) + form.end)}", hint="marked")
    more = "" if single else f' ("\\n" {marked}){{0,{MAX_CALLS - 1}}}'
    return f"{marked}{more}"


def _call(rules: SchemaGrammar, tool: ToolDefinition, form: ToolFormat, *, index: int, required: bool) -> str:
    """Give the name of a rule for a call of a tool; empty if its schema is unusable and others can be called."""
    try:
        field = f"tools[{index}].parameters_json"
        arguments = rules.schema(tool.parameters_json or _NO_PARAMETERS, field=field, lenient=not tool.strict)
    except UnsupportedSchema as error:
        if required or tool.strict:
            raise
        log.warning("grammar.tool_left_out", tool=tool.name, field=error.field, problem=error.message)
        return ""
    begin = f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "{form.arguments}": '
    return rules.rule(f'{quote(begin)} {arguments} "}}"', hint="tool")
