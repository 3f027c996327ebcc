"""The one tree of errors.

    MeshError
    ├── InvalidArgument            the request is wrong and stays wrong
    │   ├── MessageTooLarge
    │   ├── ContextLengthExceeded
    │   ├── InvalidToolArguments
    │   └── UnsupportedSchema
    ├── NotFound
    │   ├── ModelNotFound  ThreadNotFound  RunNotFound  CallNotFound  ToolNotFound
    │   ├── ResourceNotFound  PromptNotFound
    ├── PreconditionFailed         the state of things forbids it
    │   ├── RequestQuarantined  IdempotencyKeyReused  StaleEpoch  RunAlreadyFinished  SequenceMismatch
    │   ├── ThreadDiffers  ThreadChanged
    │   ├── ToolDefinitionChanged  ToolSuspicious  DefinitionDiffers  ToolNeedsApproval
    │   └── CallNotWaiting  CallAlreadyDecided
    ├── ThreadBusy                 somebody else is at it
    ├── CallDenied                 a person has said no
    ├── Unauthenticated  InsufficientScope
    │   └── CallerUnknown          on a link between units
    ├── MethodRefused              likewise: this caller may not call that
    ├── Overloaded                 too much at once; try later
    │   └── RateLimitExceeded  ToolRateLimited  ToolQueueFull
    ├── Unavailable                a part is missing; try later
    │   ├── Unreachable            and nothing of the request has reached it
    │   │   └── LinkUntrusted
    │   ├── BackendUnavailable  StoreUnavailable  ToolServerUnavailable  ToolServerResting
    │   ├── StoreGenerationChanged
    │   └── ToolConnectionLost
    ├── StoreFull  ThreadDamaged  EventLogExpired
    ├── InsufficientQuota              its tenant stores as much as it may
    ├── ToolCallNotDone
    ├── ToolFailed  ToolServerFailed  ToolAuthenticationFailed  ToolResultTooLarge
    ├── ToolResultInvalid
    │   └── ToolAnswerUnreadable
    ├── DeadlineExceeded  Cancelled  Aborted
    ├── Unsupported                this server does not offer it
    │   └── ToolInputRequired
    └── Internal                   a defect; details are in the log only

A class says what an error means for the caller: its `code`, its `reason` and whether it is `retryable`. Its docstring
is the default message. Facts are keywords; they travel as `google.rpc.ErrorInfo.metadata`.
"""

from threadmesh.errors.kinds import (
    Aborted,
    Cancelled,
    Code,
    DeadlineExceeded,
    InsufficientQuota,
    InsufficientScope,
    Internal,
    InvalidArgument,
    MeshError,
    MessageTooLarge,
    NotFound,
    Overloaded,
    PreconditionFailed,
    RateLimitExceeded,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Unsupported,
)
from threadmesh.errors.links import CallerUnknown, LinkUntrusted, MethodRefused
from threadmesh.errors.models import (
    BackendUnavailable,
    ContextLengthExceeded,
    ModelNotFound,
    NoCompatibleReplica,
    RequestQuarantined,
    UnsupportedSchema,
)
from threadmesh.errors.threads import (
    EventLogExpired,
    IdempotencyKeyReused,
    RunAlreadyFinished,
    RunNotFound,
    SequenceMismatch,
    StaleEpoch,
    StoreFull,
    StoreGenerationChanged,
    StoreUnavailable,
    ThreadBusy,
    ThreadChanged,
    ThreadDamaged,
    ThreadDiffers,
    ThreadNotFound,
)
from threadmesh.errors.tools import (
    ArgumentsDiffer,
    CallAlreadyDecided,
    CallDenied,
    CallNotFound,
    CallNotWaiting,
    DefinitionDiffers,
    InvalidToolArguments,
    PromptNotFound,
    ResourceNotFound,
    ToolAnswerUnreadable,
    ToolAuthenticationFailed,
    ToolCallNotDone,
    ToolConnectionLost,
    ToolDefinitionChanged,
    ToolFailed,
    ToolInputRequired,
    ToolNeedsApproval,
    ToolNotFound,
    ToolQueueFull,
    ToolRateLimited,
    ToolResultInvalid,
    ToolResultTooLarge,
    ToolServerFailed,
    ToolServerResting,
    ToolServerUnavailable,
    ToolSuspicious,
)

__all__ = [
    "Aborted",
    "ArgumentsDiffer",
    "BackendUnavailable",
    "CallAlreadyDecided",
    "CallDenied",
    "CallNotFound",
    "CallNotWaiting",
    "CallerUnknown",
    "Cancelled",
    "Code",
    "ContextLengthExceeded",
    "DeadlineExceeded",
    "DefinitionDiffers",
    "EventLogExpired",
    "IdempotencyKeyReused",
    "InsufficientQuota",
    "InsufficientScope",
    "Internal",
    "InvalidArgument",
    "InvalidToolArguments",
    "LinkUntrusted",
    "MeshError",
    "MessageTooLarge",
    "MethodRefused",
    "ModelNotFound",
    "NoCompatibleReplica",
    "NotFound",
    "Overloaded",
    "PreconditionFailed",
    "PromptNotFound",
    "RateLimitExceeded",
    "RequestQuarantined",
    "ResourceNotFound",
    "RunAlreadyFinished",
    "RunNotFound",
    "SequenceMismatch",
    "StaleEpoch",
    "StoreFull",
    "StoreGenerationChanged",
    "StoreUnavailable",
    "ThreadBusy",
    "ThreadChanged",
    "ThreadDamaged",
    "ThreadDiffers",
    "ThreadNotFound",
    "ToolAnswerUnreadable",
    "ToolAuthenticationFailed",
    "ToolCallNotDone",
    "ToolConnectionLost",
    "ToolDefinitionChanged",
    "ToolFailed",
    "ToolInputRequired",
    "ToolNeedsApproval",
    "ToolNotFound",
    "ToolQueueFull",
    "ToolRateLimited",
    "ToolResultInvalid",
    "ToolResultTooLarge",
    "ToolServerFailed",
    "ToolServerResting",
    "ToolServerUnavailable",
    "ToolSuspicious",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "Unsupported",
    "UnsupportedSchema",
]
