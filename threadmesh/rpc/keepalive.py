"""How a peer that has vanished without a word is told from one that is silent."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """A connection on which nothing comes for `silent_ms` is asked for a sign of life, and ended `answer_ms` later.

    Whatever runs over it ends then: at a client as UNAVAILABLE, at a server as if its client had left.
    """

    silent_ms: int = 30_000
    answer_ms: int = 10_000

    @property
    def options(self) -> list[tuple[str, int]]:
        """Give this as options of a gRPC channel or server; it holds without calls, too."""
        return [
            ("grpc.keepalive_time_ms", self.silent_ms),
            ("grpc.keepalive_timeout_ms", self.answer_ms),
            # Behind a proxy the system hears from, this is what counts; it is a minute unless it is set.
            ("grpc.http2.ping_timeout_ms", self.answer_ms),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]


KEEPALIVE = Keepalive()
