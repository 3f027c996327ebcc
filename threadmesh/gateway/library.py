"""Resources and prompts as MCP says them, asked of the tools service."""

import base64
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.codec import decode_message
from threadmesh.conversation import Message, Role
from threadmesh.errors import NotFound
from threadmesh.gateway import values
from threadmesh.gateway.failures import as_mcp_errors
from threadmesh.gateway.pages import page
from threadmesh.gateway.port import ToolsService
from threadmesh.gateway.uris import gateway_uri, own_uri

Context = ServerRequestContext[Any, Any]

_NOT_FOUND = -32002
_MODERN_NOT_FOUND = types.INVALID_PARAMS


class LibraryHandlers:
    """Handlers of MCP's requests about resources and prompts."""

    def __init__(self, tools: ToolsService) -> None:
        self._tools = tools

    async def list_resources(
        self, _: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """List what can be read, under the gateway's URIs."""
        with as_mcp_errors():
            listed = await self._tools.resources()
        shown, following = page(map(_resource, listed.resources), params, key=lambda resource: resource.uri)
        return types.ListResourcesResult(resources=shown, next_cursor=following)

    async def list_templates(
        self, _: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """List the templates of what can be read, under the gateway's URIs."""
        with as_mcp_errors():
            listed = await self._tools.resources()
        shown, following = page(map(_template, listed.templates), params, key=lambda template: template.uri_template)
        return types.ListResourceTemplatesResult(resource_templates=shown, next_cursor=following)

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Read a resource."""
        found = own_uri(params.uri)
        if found is None:
            raise _missing(context, "The URIs of resources begin with threadmesh:<server>: here.")
        server, uri = found
        with as_mcp_errors():
            try:
                read = await self._tools.read(server, uri)
            except NotFound as error:
                raise _missing(context, error.message) from error
        return types.ReadResourceResult(contents=[_content(server, each) for each in read.contents])

    async def list_prompts(self, _: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        """List the prompts."""
        with as_mcp_errors():
            listed = await self._tools.prompts()
        shown, following = page(map(_prompt, listed.prompts), params, key=lambda prompt: prompt.name)
        return types.ListPromptsResult(prompts=shown, next_cursor=following)

    async def get_prompt(self, _: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        """Fill in a prompt."""
        with as_mcp_errors():
            try:
                filled = await self._tools.prompt(params.name, params.arguments or {})
            except NotFound as error:
                raise MCPError(types.INVALID_PARAMS, error.message) from error
        messages = [said for each in filled.messages for said in _said(decode_message(each))]
        return types.GetPromptResult(description=filled.description or None, messages=messages)


def _missing(context: Context, words: str) -> MCPError:
    modern = values.is_modern(context.protocol_version)
    return MCPError(_MODERN_NOT_FOUND if modern else _NOT_FOUND, words)


def _resource(resource: pb.Resource) -> types.Resource:
    return types.Resource(
        uri=gateway_uri(resource.server, resource.uri),
        name=resource.name,
        title=resource.title or None,
        description=resource.description or None,
        mime_type=resource.mime_type or None,
        size=resource.size or None,
    )


def _template(template: pb.ResourceTemplate) -> types.ResourceTemplate:
    return types.ResourceTemplate(
        uri_template=gateway_uri(template.server, template.uri_template),
        name=template.name,
        title=template.title or None,
        description=template.description or None,
        mime_type=template.mime_type or None,
    )


def _content(server: str, content: pb.ResourceContent) -> types.TextResourceContents | types.BlobResourceContents:
    uri, mime_type = gateway_uri(server, content.uri), content.mime_type or None
    if content.WhichOneof("content") == "data":
        blob = base64.b64encode(content.data).decode()
        return types.BlobResourceContents(uri=uri, mime_type=mime_type, blob=blob)
    return types.TextResourceContents(uri=uri, mime_type=mime_type, text=content.text)


def _prompt(prompt: pb.Prompt) -> types.Prompt:
    return types.Prompt(
        name=prompt.name,
        title=prompt.title or None,
        description=prompt.description or None,
        arguments=[
            types.PromptArgument(
                name=each.name,
                title=each.title or None,
                description=each.description or None,
                required=each.required,
            )
            for each in prompt.arguments
        ],
    )


def _said(message: Message) -> list[types.PromptMessage]:
    """Give a message, of which MCP lets each hold one part."""
    role: types.Role = "assistant" if message.role is Role.ASSISTANT else "user"
    return [types.PromptMessage(role=role, content=values.block(part)) for part in message.parts]
