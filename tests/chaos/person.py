"""A person who answers what the servers of a run's tools ask, and says it again until somebody has heard it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from tests.chaos.reader import Reader

_PAUSE_SECONDS = 0.05
_REFUSED = {409}
"""What says clearly that an answer counts no more."""


@dataclass(slots=True, kw_only=True)
class Person:
    """Answers each question of the reader's run once, with a word of its own; `on_question` happens before the first.

    `heard` are the words that were taken, `refused` those of which it is certain that they were not.
    """

    url: str
    reader: Reader
    on_question: Callable[[], object] = lambda: None
    heard: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
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
        with suppress(httpx2.HTTPError):
            if self.reader.run:
                run = client.get(f"{self.url}/v1/runs/{self.reader.run}").json()
                return list((run.get("required_action") or {}).get("calls", ()))
        return []

    def _say(self, client: httpx2.Client, call: dict[str, Any]) -> None:
        number = call["input_required"]["round"]
        word = f"word-{number}"
        body = {"content": {"word": word}, "round": number}
        while not self._over.is_set():
            with suppress(httpx2.HTTPError):
                said = client.post(f"{self.url}/v1/runs/{self.reader.run}/calls/{call['id']}/answer", json=body)
                if said.status_code == 200:
                    self.heard.append(word)
                    return
                if said.status_code in _REFUSED:
                    self.refused.append(word)
                    return
                assert said.status_code in {502, 503, 504}, said.text
            time.sleep(_PAUSE_SECONDS)
