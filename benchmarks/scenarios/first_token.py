"""How long does somebody wait for the first word of an answer to something new?"""

from benchmarks.contestants.contestant import LLAMA_SERVER, MESH, Contestant
from benchmarks.prompts import Prompts, user
from benchmarks.result import CLIENT_CPU, FIRST_TOKEN, Result, Sheet, compared
from benchmarks.stage import Stage

NAME = "first_token"
QUESTION = "How long until the first token of an answer to a prompt of which nothing is cached?"
CONTESTANTS = (MESH, LLAMA_SERVER)
_PROMPT_WORDS = {"about 100 tokens": 70, "about 400 tokens": 330}
_CLIENTS = (1, 4)
_REQUESTS = 8
_ANSWER_TOKENS = 16
_CASES = {
    f"{size}, {clients} client{'s' if clients > 1 else ''}": (words, clients)
    for size, words in _PROMPT_WORDS.items()
    for clients in _CLIENTS
}


async def run(stage: Stage) -> Result:
    """Measure two sizes of prompts, alone and beside others."""
    sheet = Sheet()
    requests = max(_CLIENTS) if stage.quick else _REQUESTS

    async def measure(number: int, contestant: Contestant) -> None:
        for condition, (words, clients) in _CASES.items():
            prompts = Prompts(NAME, condition, number)
            bodies = [contestant.ask([user(prompts.text(words))], tokens=_ANSWER_TOKENS) for _ in range(requests)]
            batch = await contestant.send(bodies, clients=clients)
            sheet.add(contestant.name, condition, FIRST_TOKEN, batch.first_token_milliseconds)
            sheet.add(contestant.name, condition, CLIENT_CPU, batch.cpu_percent)

    await stage.alternate(CONTESTANTS, measure)
    targets = tuple(
        compared(sheet.row(condition, FIRST_TOKEN, percent), 1.0, at_least=False, of=MESH, to=LLAMA_SERVER)
        for condition in _CASES
        for percent in FIRST_TOKEN.percentiles
    )
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=targets)
