"""What stops a measurement."""


class BenchmarkError(Exception):
    """A measurement cannot be made; the message says why and what to do."""


class RequestFailed(BenchmarkError):
    """A server did not answer a request with a whole stream."""
