"""A typed Python function as an MCP tool: its definition from its signature, its result from what it returns."""

import asyncio
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from mcp_types import CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from threadmesh.tools import Effect, Progress, ToolError
from tools_svc.adapters.function_result import FunctionResult, PlainSchema, sendable

_HINTS: dict[Effect, ToolAnnotations | None] = {
    "read_only": ToolAnnotations(read_only_hint=True),
    "idempotent": ToolAnnotations(read_only_hint=False, idempotent_hint=True),
    "unsafe": None,
}
_NAMELESS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_ARGUMENTS = re.compile(r"^Args:[ ]*\n((?:[ \t]+\S.*\n?|[ \t]*\n)*)", re.MULTILINE)
_ARGUMENT = re.compile(r"^(\w+)(?:[ ]*\([^)]*\))?:[ ]*(.*)$")


class FunctionRefused(Exception):
    """A function cannot be a tool; the message is `file:line: function: reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTool:
    """A function with its definition; `progress` names the parameter that takes a `Progress`, empty without one."""

    definition: Tool
    function: Callable[..., Any]
    arguments: type[BaseModel]
    result: FunctionResult
    progress: str

    async def call(self, arguments: Mapping[str, Any], progress: Progress) -> CallToolResult:
        """Run the function; what it raises becomes a result that is an error.

        A function that is not async runs in a thread, which a cancelled call leaves behind.
        """
        try:
            values = _values(self.arguments.model_validate(arguments))
        except ValidationError as error:
            return _failure(_complaints(error))
        task = asyncio.current_task()
        assert task is not None
        try:
            return self.result.encode(await self._run(values | ({self.progress: progress} if self.progress else {})))
        except ToolError as error:
            return _failure(str(error))
        except BaseException as error:  # whatever the operator's code raises, `sys.exit()` too, ends this call only
            if task.cancelling():
                raise
            traceback.print_exc(file=sys.stderr)
            return _failure(f"The tool failed with {type(error).__name__}.")

    async def _run(self, values: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**values)
        value = await anyio.to_thread.run_sync(partial(self.function, **values), abandon_on_cancel=True)
        # A decorator's wrapper need not be async to give what is to be awaited.
        return await value if inspect.isawaitable(value) else value


def function_tool(function: Callable[..., Any], effect: Effect) -> FunctionTool:
    """Make a tool of a function; raises `FunctionRefused` when its signature cannot be told to a model."""
    try:
        signature = inspect.signature(function, eval_str=True)
        parameters = dict(signature.parameters)
        progress = next((name for name, each in parameters.items() if each.annotation is Progress), "")
        parameters.pop(progress, None)
        description, described = _documentation(function)
        arguments = _model(function.__name__, parameters, described)
        result = FunctionResult(signature.return_annotation)
        schema = arguments.model_json_schema(schema_generator=PlainSchema)
    except (PydanticUserError, NameError, TypeError, ValueError, SyntaxError, AttributeError) as error:
        raise FunctionRefused(f"{_place(function)}: {_reason(error)}") from error
    schema.pop("title", None)
    definition = Tool(
        name=function.__name__,
        description=description,
        input_schema=schema,
        output_schema=result.schema,
        annotations=_HINTS[effect],
    )
    return FunctionTool(definition=definition, function=function, arguments=arguments, result=result, progress=progress)


def _model(name: str, parameters: Mapping[str, inspect.Parameter], described: Mapping[str, str]) -> type[BaseModel]:
    # Fields have names of their own, so that a parameter may be called `json` or `_x`, which pydantic keeps for itself.
    fields: dict[str, Any] = {}
    for index, (parameter_name, parameter) in enumerate(parameters.items()):
        if parameter.kind in _NAMELESS:
            raise TypeError(f"the parameter '{parameter_name}' cannot be given by its name")
        if parameter.annotation is parameter.empty:
            raise TypeError(f"the parameter '{parameter_name}' has no type")
        annotation = parameter.annotation
        if words := described.get(parameter_name):
            annotation = Annotated[annotation, Field(description=words)]
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"argument_{index}"] = (annotation, Field(default, alias=parameter_name))
    model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    return model


def _values(arguments: BaseModel) -> dict[str, Any]:
    fields = type(arguments).model_fields
    return {str(field.alias): getattr(arguments, name) for name, field in fields.items()}


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Give what a docstring says of the function, and of each argument in a section `Args:`."""
    text = inspect.getdoc(function) or ""
    section = _ARGUMENTS.search(text)
    if section is None:
        return text, {}
    described: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n" + section[1]).splitlines():
        if found := _ARGUMENT.match(line):
            name, described[found[1]] = found[1], found[2]
        elif name:
            described[name] = f"{described[name]} {line.strip()}".strip()
    return (text[: section.start()].rstrip() + "\n\n" + text[section.end() :].lstrip()).strip(), described


def _place(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}: {name}" if code else f"{function.__module__}: {name}"


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _complaints(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = (f"{'.'.join(str(step) for step in each['loc']) or 'arguments'}: {each['msg']}" for each in found)
    return "The arguments do not fit: " + "; ".join(lines)


def _failure(words: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=sendable(words))], is_error=True)
