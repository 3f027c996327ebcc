"""A person who answers what the servers of a run's tools ask, and says it again until somebody has heard it."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from tests.chaos.reader import Reader

_PAUSE_SECONDS = 0.05
_ASK_AGAIN = {502, 503, 504}


@dataclass(slots=True, kw_only=True)
class Person:
    """Answers each question of the reader's run once, with a word of its own; `on_question` happens before the first.

    `heard` are the words that were taken, `refused` those of which it is certain that they were not.
    """

    urls: Sequence[str]
    reader: Reader
    on_question: Callable[[], object] = lambda: None
    heard: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _tries: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        asked = False
        with httpx2.Client(timeout=10) as client:
            while not self._over.is_set():
                for call in self._waiting(client):
                    if not asked:
                        asked = True
                        self.on_question()
                    self._say(client, call)
                time.sleep(_PAUSE_SECONDS)

    def _waiting(self, client: httpx2.Client) -> list[dict[str, Any]]:
        if self.reader.run and (said := self._ask(client, "GET", f"/v1/runs/{self.reader.run}")) is not None:
            return list((said.json().get("required_action") or {}).get("calls", ()))
        return []

    def _say(self, client: httpx2.Client, call: dict[str, Any]) -> None:
        number = call["input_required"]["round"]
        word = f"word-{number}"
        body = {"content": {"word": word}, "round": number}
        while not self._over.is_set():
            path = f"/v1/runs/{self.reader.run}/calls/{call['id']}/answer"
            if (said := self._ask(client, "POST", path, body)) is not None:
                (self.heard if said.status_code == 200 else self.refused).append(word)
                return
            time.sleep(_PAUSE_SECONDS)

    def _ask(self, client: httpx2.Client, method: str, path: str, body: Any = None) -> httpx2.Response | None:
        """Ask a facade; None if it could not be reached, or could not say, and another one is to be asked."""
        with suppress(httpx2.HTTPError):
            said = client.request(method, self.urls[self._tries % len(self.urls)] + path, json=body)
            if said.status_code not in _ASK_AGAIN:
                assert said.status_code in {200, 409}, said.text
                return said
        self._tries += 1
        return None
