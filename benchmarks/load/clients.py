"""Several clients at once, each sending its next request when its last one is answered."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

from benchmarks.failures import RequestFailed
from benchmarks.load.answer import Answer, read_answer
from benchmarks.load.http import Endpoint, Exchange, exchange, request

PATH = "/v1/chat/completions"
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """All answers, the wall time from the first request to the last byte, and the CPU time of this client in it."""

    answers: tuple[Answer, ...]
    seconds: float
    cpu_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all answers in the wall time."""
        return sum(answer.tokens for answer in self.answers) / self.seconds

    @property
    def cpu_percent(self) -> float:
        """What the client used of one core while it measured."""
        return 100 * self.cpu_seconds / self.seconds

    @property
    def first_token_milliseconds(self) -> list[float]:
        """Each answer's time to first token."""
        return [1_000 * answer.first_token for answer in self.answers]


def chat_request(body: Body) -> bytes:
    """Write a chat completion request."""
    return request("POST", PATH, json.dumps(body).encode())


async def send(endpoint: Endpoint, bodies: Sequence[Body], *, clients: int) -> Batch:
    """Answer all bodies with so many clients. Raises `RequestFailed` if one is not answered as a whole."""
    waiting = deque(chat_request(body) for body in bodies)
    exchanges: list[Exchange] = []

    async def client() -> None:
        while waiting:
            exchanges.append(await exchange(endpoint, waiting.popleft()))

    began, cpu_began = perf_counter(), process_time()
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(client())
    except ExceptionGroup as errors:
        raise RequestFailed(f"the server did not answer: {errors.exceptions[0]!r}") from errors
    seconds, cpu_seconds = perf_counter() - began, process_time() - cpu_began
    return Batch(answers=tuple(map(read_answer, exchanges)), seconds=seconds, cpu_seconds=cpu_seconds)
