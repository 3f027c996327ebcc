"""Errors of models, schemas and prompts."""

from typing import Any

from threadmesh.errors.kinds import InvalidArgument, NotFound, PreconditionFailed, Unavailable


class ContextLengthExceeded(InvalidArgument):
    """The prompt is longer than the model's context; shorten the conversation or use a model with a longer context."""

    reason = "CONTEXT_LENGTH_EXCEEDED"

    def __init__(self, message: str = "", /, **facts: Any) -> None:
        """With the facts `prompt_tokens` and `context_tokens`, the message tells both."""
        prompt, context = facts.get("prompt_tokens"), facts.get("context_tokens")
        if not message and prompt and context:
            message = (
                f"The prompt has {prompt} tokens, and the model's context {context}; shorten the conversation or use a "
                "model with a longer context."
            )
        super().__init__(message, **facts)


class UnsupportedSchema(InvalidArgument):
    """The JSON schema or grammar cannot be used; simplify it.

    The fact `kind` says what is wrong with it, for programs: `schema_too_complex`, `schema_ref_external`,
    `schema_ref_cycle`, `schema_unsupported`, `schema_pattern_unsupported`, `schema_unsatisfiable`, `schema_invalid`.
    """

    reason = "UNSUPPORTED_SCHEMA"


class ModelNotFound(NotFound):
    """There is no such model; list the models to see their names."""

    reason = "MODEL_NOT_FOUND"


class RequestQuarantined(PreconditionFailed):
    """This request ended the server when it was last answered; it is refused for a while."""

    reason = "REQUEST_QUARANTINED"


class BackendUnavailable(Unavailable):
    """No backend can take this request now."""

    reason = "BACKEND_UNAVAILABLE"


class NoCompatibleReplica(Unavailable):
    """The answer had begun with a model that is gone, and no other can go on with it; send the request again."""

    reason = "NO_COMPATIBLE_REPLICA"
    retryable = False
