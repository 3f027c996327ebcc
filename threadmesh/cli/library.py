"""`threadmesh tools resources`, `read`, `prompts` and `prompt`."""

import base64
import json
import sys
from collections.abc import Sequence

import typer

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.cli.arguments import parse_arguments
from threadmesh.cli.calls import SECONDS, reached
from threadmesh.cli.output import one_line, print_json, print_table, printable
from threadmesh.cli.tools import result_text
from threadmesh.codec import decode_message
from threadmesh.conversation import Message

_ANY_TEXTS = json.dumps({"type": "object", "additionalProperties": {"type": "string"}})


async def show_resources(target: str, *, as_json: bool) -> None:
    """Write what can be read, templates last."""
    async with reached(target, peer="tools") as channel:
        listed = await ToolsServiceStub(channel).ListResources(pb.ListResourcesRequest(), timeout=SECONDS)
    if as_json:
        resources = [_described(each) | {"uri": each.uri, "size": each.size} for each in listed.resources]
        templates = [_described(each) | {"uri_template": each.uri_template} for each in listed.templates]
        print_json({"resources": resources, "templates": templates})
        return
    rows = [[each.server, each.uri, each.mime_type, _words(each)] for each in listed.resources]
    rows += [[each.server, each.uri_template, each.mime_type, _words(each)] for each in listed.templates]
    print_table(["server", "uri", "type", "description"], rows)


async def show_content(target: str, server: str, uri: str, *, as_json: bool) -> None:
    """Write what a resource holds; raises `ResourceNotFound`, and what keeps its server from giving it."""
    async with reached(target, peer="tools") as channel:
        read = await ToolsServiceStub(channel).ReadResource(pb.ReadResourceRequest(server=server, uri=uri))
    if as_json:
        print_json({"contents": list(map(_content, read.contents))})
        return
    for content in read.contents:
        if content.WhichOneof("content") == "text":
            typer.echo(printable(content.text))
        elif sys.stdout.isatty():
            typer.echo(f"[{content.mime_type or 'bytes'}, {len(content.data)} bytes]")
        else:
            typer.echo(content.data, nl=False)


async def show_prompts(target: str, *, as_json: bool) -> None:
    """Write the prompts."""
    async with reached(target, peer="tools") as channel:
        listed = await ToolsServiceStub(channel).ListPrompts(pb.ListPromptsRequest(), timeout=SECONDS)
    if as_json:
        print_json({"prompts": list(map(_prompt, listed.prompts))})
        return
    rows = [
        [each.name, each.server, _arguments(each), one_line(each.description, limit=100)] for each in listed.prompts
    ]
    print_table(["prompt", "server", "arguments", "description"], rows)


async def show_prompt(target: str, name: str, words: Sequence[str], *, as_json: bool) -> None:
    """Write what a prompt becomes; raises `PromptNotFound`, and what keeps its server from giving it."""
    given = json.loads(parse_arguments(words, schema_json=_ANY_TEXTS))
    arguments = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    async with reached(target, peer="tools") as channel:
        filled = await ToolsServiceStub(channel).GetPrompt(pb.GetPromptRequest(name=name, arguments=arguments))
    messages = list(map(decode_message, filled.messages))
    if as_json:
        print_json({"description": filled.description, "messages": list(map(_message, messages))})
        return
    for message in messages:
        typer.echo(printable(result_text(message.parts)))


def _described(entry: pb.Resource | pb.ResourceTemplate) -> dict[str, object]:
    return {
        "server": entry.server,
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "mime_type": entry.mime_type,
    }


def _content(content: pb.ResourceContent) -> dict[str, object]:
    body: dict[str, object] = {"text": content.text}
    if content.WhichOneof("content") == "data":
        body = {"base64": base64.b64encode(content.data).decode()}
    return {"uri": content.uri, "mime_type": content.mime_type} | body


def _prompt(prompt: pb.Prompt) -> dict[str, object]:
    arguments = [
        {"name": each.name, "title": each.title, "description": each.description, "required": each.required}
        for each in prompt.arguments
    ]
    names = {"name": prompt.name, "server": prompt.server, "title": prompt.title, "description": prompt.description}
    return names | {"arguments": arguments}


def _message(message: Message) -> dict[str, object]:
    return {"role": str(message.role), "text": result_text(message.parts)}


def _words(entry: pb.Resource | pb.ResourceTemplate) -> str:
    return one_line(entry.description or entry.title or entry.name, limit=100)


def _arguments(prompt: pb.Prompt) -> str:
    return " ".join(each.name if each.required else f"[{each.name}]" for each in prompt.arguments)
