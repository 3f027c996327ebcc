"""Retention rules to and from protobuf. Pure functions."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from context_svc.domain.retain import Removal
from context_svc.domain.retention import Rule
from threadmesh.api.context.v1 import threads_service_pb2 as pb

_ASKED = "*"


def encode_rule(rule: Rule | None) -> pb.GetRetentionResponse:
    """Encode the rule of a thread; none keeps it for ever."""
    if rule is None:
        return pb.GetRetentionResponse()
    limits = pb.RetentionLimits(
        max_age=_duration(rule.max_age),
        max_idle=_duration(rule.max_idle),
        max_items=rule.max_items,
        max_tokens=rule.max_tokens,
        only_summarized=rule.only_summarized,
    )
    return pb.GetRetentionResponse(rule=pb.RetentionRule(pattern=rule.pattern, limits=limits))


def decode_limits(limits: pb.RetentionLimits) -> Rule:
    """Decode limits that somebody asks for as a rule for every key."""
    return Rule(
        pattern=_ASKED,
        max_age=limits.max_age.ToTimedelta() if limits.HasField("max_age") else None,
        max_idle=limits.max_idle.ToTimedelta() if limits.HasField("max_idle") else None,
        max_items=limits.max_items if limits.HasField("max_items") else None,
        max_tokens=limits.max_tokens if limits.HasField("max_tokens") else None,
        only_summarized=limits.only_summarized,
    )


def encode_removal(removal: Removal) -> pb.PrunedThread:
    """Encode what went of a thread."""
    return pb.PrunedThread(
        thread_id=removal.thread.id,
        key=removal.thread.key,
        pattern=removal.rule.pattern,
        items=removal.items,
        whole=removal.whole,
    )


def _duration(length: timedelta | None) -> Duration | None:
    if length is None:
        return None
    wire = Duration()
    wire.FromTimedelta(length)
    return wire
