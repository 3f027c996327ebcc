"""Errors of threads, runs and their stores."""

from threadmesh.errors.kinds import Code, MeshError, NotFound, PreconditionFailed, Unavailable


class ThreadNotFound(NotFound):
    """There is no such thread."""

    reason = "THREAD_NOT_FOUND"


class RunNotFound(NotFound):
    """There is no such run."""

    reason = "RUN_NOT_FOUND"


class IdempotencyKeyReused(PreconditionFailed):
    """This idempotency key belongs to a different request; use a new key for a new request."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class StaleEpoch(PreconditionFailed):
    """Another process has taken over this run; stop writing to it."""

    reason = "STALE_EPOCH"


class RunAlreadyFinished(PreconditionFailed):
    """The run has ended."""

    reason = "RUN_ALREADY_FINISHED"


class SequenceMismatch(PreconditionFailed):
    """The log expects an event with another number."""

    reason = "SEQUENCE_MISMATCH"


class ThreadDiffers(PreconditionFailed):
    """The thread of this key has other items in the place of these; delete it first, or use another key."""

    reason = "THREAD_DIFFERS"


class ThreadChanged(PreconditionFailed):
    """The thread is not as it was read: it was summarized, has other runs, or lost items; read it again."""

    reason = "THREAD_CHANGED"


class ThreadBusy(MeshError):
    """The thread has an active run; wait until it has ended."""

    code = Code.ABORTED
    reason = "THREAD_BUSY"
    retryable = True
    retry_after = 1.0


class StoreUnavailable(Unavailable):
    """The store of threads cannot be reached now."""

    reason = "STORE_UNAVAILABLE"


class StoreGenerationChanged(StoreUnavailable):
    """The store has lost data since this service started; restart the service to go on with what is left."""

    reason = "STORE_GENERATION_CHANGED"
    retryable = False
    retry_after = None


class StoreFull(MeshError):
    """The store's disk is full; free some space. What is stored can still be read."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "STORE_FULL"


class ThreadDamaged(MeshError):
    """An item of this thread is damaged on disk; other threads are not."""

    code = Code.DATA_LOSS
    reason = "THREAD_DAMAGED"


class EventLogExpired(MeshError):
    """The events asked for have expired; the run with its end and the thread's items are still there."""

    code = Code.OUT_OF_RANGE
    reason = "EVENT_LOG_EXPIRED"
