"""A client that does not give up: it picks its stream up again, wherever somebody answers."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

PATIENCE_SECONDS = 40.0
_PAUSE_SECONDS = 0.05


@dataclass(slots=True, kw_only=True)
class Reader:
    """Asks once, with an idempotency key, and reads until the stream has its end, from one facade or the other.

    `gap` is the longest time without an event, in seconds.
    """

    urls: Sequence[str]
    body: dict[str, Any]
    key: str
    blocks: list[str] = field(default_factory=list)
    run: str = ""
    thread: str = ""
    cuts: int = 0
    gap: float = 0.0
    refusal: str = ""
    _heard: float = 0.0

    def read(self) -> None:
        """Read the stream to its end. Fails when it has none in time."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not self.ended:
            with suppress(httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.TimeoutException):
                self._read_some(self.urls[self.cuts % len(self.urls)])
            self.cuts += 1
            assert time.monotonic() < ends, f"no end after {self.cuts} cuts: {self.refusal or self.blocks[-3:]}"
            time.sleep(_PAUSE_SECONDS)

    def _read_some(self, url: str) -> None:
        headers = {"idempotency-key": self.key}
        if self.place:
            headers["last-event-id"] = self.place
        with (
            httpx2.Client(timeout=PATIENCE_SECONDS) as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=self.body, headers=headers) as response,
        ):
            if response.status_code != 200:
                self.refusal = f"{response.status_code} {response.read().decode()}"
                assert response.status_code in {409, 502, 503, 504}, self.refusal
                return
            self.run, self.thread = response.headers["x-run-id"], response.headers["x-thread-id"]
            rest = ""
            for piece in response.iter_text():
                *whole, rest = (rest + piece.replace(": keep-alive\n", "")).split("\n\n")
                self.blocks += [block for block in whole if "data: " in block]
                self._hear(bool(whole))

    def _hear(self, something: bool) -> None:
        now = time.monotonic()
        if something:
            self.gap = max(self.gap, now - (self._heard or now))
            self._heard = now

    @property
    def place(self) -> str:
        """The id of the last event that was read."""
        ids = [block.split("\n")[0].removeprefix("id: ") for block in self.blocks if block.startswith("id: ")]
        return ids[-1] if ids else ""

    @property
    def ended(self) -> bool:
        """Whether the stream has its end: `[DONE]`, or an error."""
        return bool(self.blocks) and (self.blocks[-1] == "data: [DONE]" or '"error":{' in self.blocks[-1])

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """What the stream said."""
        data = [block.split("data: ", 1)[1] for block in self.blocks]
        return [json.loads(each) for each in data if each != "[DONE]"]

    @property
    def text(self) -> str:
        """The answer's text."""
        return self._said("content")

    @property
    def reasoning(self) -> str:
        """The answer's thinking."""
        return self._said("reasoning_content")

    def _said(self, field_name: str) -> str:
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", ())]
        return "".join(choice["delta"].get(field_name) or "" for choice in choices)
