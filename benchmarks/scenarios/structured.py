"""What does it cost to hold an answer to a schema?"""

from typing import Any

from benchmarks.contestants.contestant import LLAMA_SERVER, MESH, Contestant
from benchmarks.figures import ratio
from benchmarks.prompts import Prompts, user
from benchmarks.result import TOKENS, TOKENS_PER_SECOND, Result, Sheet, Target
from benchmarks.stage import Stage

NAME = "structured"
QUESTION = "How much slower are answers that must conform to a JSON schema?"
CONTESTANTS = (MESH, LLAMA_SERVER)
_CLIENTS = (1, 4)
_REQUESTS_PER_CLIENT = 3
_PROMPT_WORDS = 60
_ANSWER_TOKENS = 64
_FREE, _HELD = "free", "held to a schema"
_ITEM = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "kind": {"enum": ["meeting", "call", "journey", "other"]},
        "minutes": {"type": "integer"},
    },
    "required": ["title", "kind", "minutes"],
    "additionalProperties": False,
}
_SCHEMA = {
    "type": "object",
    "properties": {"events": {"type": "array", "items": _ITEM, "minItems": 8, "maxItems": 12}},
    "required": ["events"],
    "additionalProperties": False,
}
"""Eight of its items need more tokens than an answer has: those held to it are as long as those that are free."""

_FORMAT: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "events", "strict": True, "schema": _SCHEMA}}


async def run(stage: Stage) -> Result:
    """Measure the same requests with and without a schema."""
    sheet = Sheet()
    cases = [(clients, form) for clients in _CLIENTS for form in (_FREE, _HELD)]

    async def measure(number: int, contestant: Contestant) -> None:
        for clients, form in cases:
            prompts = Prompts(NAME, clients, form, number)
            asked = {"full_length": True} if form == _FREE else {"full_length": False, "response_format": _FORMAT}
            count = clients * (1 if stage.quick else _REQUESTS_PER_CLIENT)
            messages = [[user(f"List events. {prompts.text(_PROMPT_WORDS)}")] for _ in range(count)]
            bodies = [contestant.ask(each, tokens=_ANSWER_TOKENS, **asked) for each in messages]
            batch = await contestant.send(bodies, clients=clients)
            condition = _condition(clients, form)
            sheet.add(contestant.name, condition, TOKENS_PER_SECOND, batch.tokens_per_second)
            sheet.add(contestant.name, condition, TOKENS, [answer.tokens for answer in batch.answers])

    await stage.alternate(CONTESTANTS, measure)
    targets = tuple(_target(sheet, clients) for clients in _CLIENTS)
    notes = tuple(_note(sheet, clients) for clients in _CLIENTS)
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=targets, notes=notes)


def _condition(clients: int, form: str) -> str:
    return f"{clients} client{'s' if clients > 1 else ''}, {form}"


def _share(sheet: Sheet, contestant: str, clients: int) -> float:
    held, free = (sheet.typical(contestant, _condition(clients, form), TOKENS_PER_SECOND) for form in (_HELD, _FREE))
    return ratio(held, free)


def _target(sheet: Sheet, clients: int) -> Target:
    claim = f"{_condition(clients, _HELD)}: tokens per second of {MESH} at least 0.9 x the same answers free"
    return Target(claim=claim, found=_share(sheet, MESH, clients), limit=0.9, at_least=True)


def _note(sheet: Sheet, clients: int) -> str:
    share = _share(sheet, LLAMA_SERVER, clients)
    return f"{LLAMA_SERVER} keeps {share:.2f} x its tokens per second under the schema ({_condition(clients, _HELD)})."
