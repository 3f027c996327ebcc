import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.servers.hook import Hook, hook
from tools_svc.adapters.server_config import Webhook
from tools_svc.adapters.webhook_listener import MOST_WAITING, WebhookListener
from tools_svc.domain.notification import Notification

Outcomes = asyncio.Queue[tuple[str, str]]


def _said(text: str = "{}") -> Notification:
    return Notification(server="bot", method="heard", params_json=text)


@asynccontextmanager
async def _listening(
    kept: Hook, outcomes: Outcomes, *, url: str = "", timeout_seconds: float = 5, body: Any = None
) -> AsyncIterator[WebhookListener]:
    headers = {"Authorization": "Bearer ${env:A_TOKEN}"}
    hooks = {("bot", "heard"): Webhook(url=url or kept.url, headers=headers, body=body)}
    listener = WebhookListener(
        hooks,
        count=lambda server, outcome: outcomes.put_nowait((server, outcome)),
        timeout_seconds=timeout_seconds,
    )
    running = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(20):
            yield listener
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")


async def test_what_is_heard_is_posted_in_order_as_it_was_said_with_the_hooks_headers() -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook() as kept, _listening(kept, outcomes) as listener:
        for number in range(3):
            listener.heard(_said(f'{{"id": {2**60 + number}}}'))
        posted = [await kept.posted.get() for _ in range(3)]
        counted = [await outcomes.get() for _ in range(3)]

    assert [body for _, body in posted] == [f'{{"id": {2**60 + number}}}' for number in range(3)]
    assert "authorization: bearer secret" in posted[0][0]
    assert "content-type: application/json" in posted[0][0]
    assert counted == [("bot", "delivered")] * 3


async def test_a_secret_in_the_hooks_address_is_named_there_and_put_in() -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook() as kept, _listening(kept, outcomes, url=f"{kept.url}?token=${{env:A_TOKEN}}") as listener:
        listener.heard(_said())
        head, _ = await kept.posted.get()

    assert head.startswith("post /transcripts?token=secret http/1.1")


async def test_a_body_of_the_operators_has_the_parameters_in_it() -> None:
    outcomes: Outcomes = asyncio.Queue()
    told = {"place": "guild:${param:where.guild}:${param:speaker}", "who": ["${param:speaker}"], "fixed": True}
    async with hook() as kept, _listening(kept, outcomes, body=told) as listener:
        listener.heard(_said(f'{{"where": {{"guild": {2**60 + 1}}}, "speaker": "Ann"}}'))
        listener.heard(_said(f'{{"where": {{"guild": {2**60 + 1}}}, "speaker": ["half \\ud800", 2]}}'))
        posted = [json.loads((await kept.posted.get())[1]) for _ in range(2)]

    assert posted[0] == {"place": f"guild:{2**60 + 1}:Ann", "who": ["Ann"], "fixed": True}
    assert posted[1] == {"place": f'guild:{2**60 + 1}:["half ?", 2]', "who": [["half ?", 2]], "fixed": True}


@pytest.mark.parametrize("params", ['{"speaker": "Ann"}', '{"words": {"b": 1}}', '"words"', "null"])
async def test_nothing_is_sent_for_a_body_that_lacks_a_parameter(params: str) -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook() as kept, _listening(kept, outcomes, body={"input": "${param:words.a}"}) as listener:
        listener.heard(_said(params))
        unfit = await outcomes.get()
        listener.heard(_said('{"words": {"a": "hello"}}'))
        _, body = await kept.posted.get()

    assert unfit == ("bot", "unfit")
    assert json.loads(body) == {"input": "hello"}


async def test_a_hook_that_refuses_does_not_hear_the_same_twice_but_hears_the_next() -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook() as kept, _listening(kept, outcomes) as listener:
        kept.status = "302 Found\r\nlocation: http://127.0.0.2:9/"
        listener.heard(_said('"first"'))
        refused = await outcomes.get()
        kept.status = "200 OK"
        listener.heard(_said('"second"'))
        delivered = await outcomes.get()
        posted = [kept.posted.get_nowait()[1] for _ in range(kept.posted.qsize())]

    assert (refused, delivered) == (("bot", "refused"), ("bot", "delivered"))
    assert posted == ['"first"', '"second"']


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://localhost:0/", "nonsense"])
async def test_a_hook_that_cannot_be_reached_costs_its_notifications_only(url: str) -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook() as kept, _listening(kept, outcomes, url=url) as listener:
        for _ in range(2):
            listener.heard(_said())
            assert await outcomes.get() == ("bot", "unreachable")


async def test_a_hook_that_does_not_answer_is_given_up() -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook(answering=False) as kept, _listening(kept, outcomes, timeout_seconds=0.05) as listener:
        listener.heard(_said())
        assert await outcomes.get() == ("bot", "unreachable")


async def test_what_more_than_a_slow_hook_can_hold_is_dropped_and_counted() -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook(answering=False) as kept, _listening(kept, outcomes) as listener:
        listener.heard(_said())
        await kept.posted.get()
        for _ in range(MOST_WAITING + 3):
            listener.heard(_said())
        dropped = [outcomes.get_nowait() for _ in range(outcomes.qsize())]

    assert dropped == [("bot", "dropped")] * 3


async def test_what_has_no_hook_is_dropped() -> None:
    outcomes: Outcomes = asyncio.Queue()
    async with hook() as kept, _listening(kept, outcomes) as listener:
        listener.heard(Notification(server="other", method="heard", params_json="{}"))

        assert outcomes.get_nowait() == ("other", "dropped")
