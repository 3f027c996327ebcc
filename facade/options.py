"""What the settings mean to the parts of the facade; a part of `app`."""

from facade.domain.limits import END_SECONDS, Limits
from facade.edge.chat.routes import ChatOptions
from facade.edge.completions.routes import CompletionOptions
from facade.edge.responses.beginning import ResponseOptions
from facade.edge.responses.windows import WindowOptions
from facade.edge.threads.reading import ReadingOptions
from facade.settings import FacadeSettings


def limits_of(settings: FacadeSettings) -> Limits:
    """Say how far a turn may go."""
    return Limits(
        answer_tokens=settings.answer_tokens,
        tool_rounds=settings.tool_rounds,
        result_characters=settings.tool_result_characters,
        seconds=settings.turn_seconds,
        approval_seconds=settings.approval_seconds,
        approve_after_tools=settings.approve_after_tools,
    )


def response(settings: FacadeSettings) -> ResponseOptions:
    """Say how responses are answered."""
    return ResponseOptions(
        default_tools=settings.default_tools,
        run_seconds=settings.turn_seconds + END_SECONDS,
        share_prompts=settings.share_prompts,
    )


def window(settings: FacadeSettings) -> WindowOptions:
    """Say how conversations are counted and compacted."""
    return WindowOptions(
        default_tools=settings.default_tools, share_prompts=settings.share_prompts, seconds=settings.turn_seconds
    )


def completion(settings: FacadeSettings, limits: Limits) -> CompletionOptions:
    """Say how legacy completions are answered."""
    return CompletionOptions(
        max_choices=settings.max_choices,
        share_prompts=settings.share_prompts,
        seconds=limits.seconds,
        patience_seconds=limits.patience_seconds,
        keepalive_seconds=settings.keepalive_seconds,
    )


def chat(settings: FacadeSettings) -> ChatOptions:
    """Say how chat completions are answered."""
    return ChatOptions(
        default_tools=settings.default_tools,
        run_seconds=settings.turn_seconds + END_SECONDS,
        orchestrator_fields=settings.orchestrator_fields,
        share_prompts=settings.share_prompts,
        max_choices=settings.max_choices,
    )


def reading(settings: FacadeSettings, limits: Limits) -> ReadingOptions:
    """Say how threads are read ahead and summarized."""
    return ReadingOptions(default_tools=settings.default_tools, share_prompts=settings.share_prompts, limits=limits)
