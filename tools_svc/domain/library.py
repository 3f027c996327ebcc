"""What a server offers besides tools: resources to read, and prompts to begin a conversation with."""

from dataclasses import dataclass

from threadmesh.conversation import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that can be read, by its server's own URI; `size` in bytes, 0 where it is not known."""

    uri: str
    name: str
    title: str = ""
    description: str = ""
    mime_type: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceTemplate:
    """URIs that can be read, as a template of RFC 6570."""

    uri_template: str
    name: str
    title: str = ""
    description: str = ""
    mime_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptArgument:
    """What a prompt is to be filled in with."""

    name: str
    title: str = ""
    description: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt by its server's own name."""

    name: str
    title: str = ""
    description: str = ""
    arguments: tuple[PromptArgument, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Everything that a server has last listed besides its tools."""

    resources: tuple[Resource, ...] = ()
    templates: tuple[ResourceTemplate, ...] = ()
    prompts: tuple[Prompt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceContent:
    """A part of what was read: text, or bytes."""

    uri: str
    mime_type: str = ""
    content: str | bytes

    @property
    def size(self) -> int:
        """The bytes it holds."""
        return len(self.content if isinstance(self.content, bytes) else self.content.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledPrompt:
    """The messages that a prompt becomes."""

    description: str = ""
    messages: tuple[Message, ...] = ()
