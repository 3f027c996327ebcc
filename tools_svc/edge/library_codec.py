"""Resources and prompts to protobuf. Pure functions."""

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.codec import encode_message
from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.library import FilledPrompt, Prompt, Resource, ResourceContent, ResourceTemplate


def encode_resources(catalogue: Catalogue, *, server: str) -> pb.ListResourcesResponse:
    """Encode what can be read of a server, or of all where none is named."""
    libraries = [
        (shelf.server.name, shelf.library) for shelf in catalogue.present if _wanted(shelf.server.name, server)
    ]
    return pb.ListResourcesResponse(
        resources=(_resource(name, each) for name, library in libraries for each in library.resources),
        templates=(_template(name, each) for name, library in libraries for each in library.templates),
    )


def encode_contents(contents: tuple[ResourceContent, ...]) -> pb.ReadResourceResponse:
    """Encode what a resource holds."""
    return pb.ReadResourceResponse(contents=map(_content, contents))


def encode_prompts(catalogue: Catalogue, *, server: str) -> pb.ListPromptsResponse:
    """Encode the prompts of a server, or of all where none is named."""
    prompts = sorted(catalogue.prompts.items())
    return pb.ListPromptsResponse(
        prompts=(_prompt(name, owner, prompt) for name, (owner, prompt) in prompts if _wanted(owner, server))
    )


def encode_filled(filled: FilledPrompt) -> pb.GetPromptResponse:
    """Encode what a prompt becomes."""
    return pb.GetPromptResponse(description=filled.description, messages=map(encode_message, filled.messages))


def _wanted(server: str, named: str) -> bool:
    return named in ("", server)


def _resource(server: str, resource: Resource) -> pb.Resource:
    return pb.Resource(
        server=server,
        uri=resource.uri,
        name=resource.name,
        title=resource.title,
        description=resource.description,
        mime_type=resource.mime_type,
        size=resource.size,
    )


def _template(server: str, template: ResourceTemplate) -> pb.ResourceTemplate:
    return pb.ResourceTemplate(
        server=server,
        uri_template=template.uri_template,
        name=template.name,
        title=template.title,
        description=template.description,
        mime_type=template.mime_type,
    )


def _content(content: ResourceContent) -> pb.ResourceContent:
    match content.content:
        case str(text):
            return pb.ResourceContent(uri=content.uri, mime_type=content.mime_type, text=text)
        case bytes(data):
            return pb.ResourceContent(uri=content.uri, mime_type=content.mime_type, data=data)


def _prompt(name: str, server: str, prompt: Prompt) -> pb.Prompt:
    return pb.Prompt(
        name=name,
        server=server,
        server_prompt=prompt.name,
        title=prompt.title,
        description=prompt.description,
        arguments=(
            pb.PromptArgument(name=each.name, title=each.title, description=each.description, required=each.required)
            for each in prompt.arguments
        ),
    )
