"""How many tokens a second come out when several clients ask at once?"""

from benchmarks.contestants.contestant import LLAMA_SERVER, MESH, PYTHON_SERVER, Contestant
from benchmarks.load.clients import Batch
from benchmarks.prompts import Prompts, user
from benchmarks.result import CLIENT_CPU, FIRST_TOKEN, TOKENS, TOKENS_PER_SECOND, Result, Sheet, Target, compared
from benchmarks.stage import Stage

NAME = "throughput"
QUESTION = "How many tokens a second do clients get that ask short questions at once?"
CONTESTANTS = (MESH, LLAMA_SERVER, PYTHON_SERVER)
_CLIENTS = (1, 4, 8, 16)
_PROMPT_WORDS = 60
_ANSWER_TOKENS = 48
_REQUESTS_PER_CLIENT = 2
_BESIDE_PYTHON_SERVER = 8


async def run(stage: Stage) -> Result:
    """Measure all contestants with each number of clients."""
    sheet = Sheet()

    async def measure(number: int, contestant: Contestant) -> None:
        for clients in _CLIENTS:
            batch = await _batch(stage, number, contestant, clients)
            note(sheet, contestant, _condition(clients), batch)

    await stage.alternate(CONTESTANTS, measure)
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=_targets(sheet))


def note(sheet: Sheet, contestant: Contestant, condition: str, batch: Batch) -> None:
    """Note what a batch shows of the speed of answers."""
    sheet.add(contestant.name, condition, TOKENS_PER_SECOND, batch.tokens_per_second)
    sheet.add(contestant.name, condition, FIRST_TOKEN, batch.first_token_milliseconds)
    sheet.add(contestant.name, condition, TOKENS, [answer.tokens for answer in batch.answers])
    sheet.add(contestant.name, condition, CLIENT_CPU, batch.cpu_percent)


async def _batch(stage: Stage, number: int, contestant: Contestant, clients: int) -> Batch:
    prompts = Prompts(NAME, clients, number)
    count = clients * (1 if stage.quick else _REQUESTS_PER_CLIENT)
    bodies = [contestant.ask([user(prompts.text(_PROMPT_WORDS))], tokens=_ANSWER_TOKENS) for _ in range(count)]
    return await contestant.send(bodies, clients=clients)


def _condition(clients: int) -> str:
    return f"{clients} clients" if clients > 1 else "1 client"


def _targets(sheet: Sheet) -> tuple[Target, ...]:
    rows = {clients: sheet.row(_condition(clients), TOKENS_PER_SECOND) for clients in _CLIENTS}
    beside_llama_server = [compared(row, 1.0, at_least=True, of=MESH, to=LLAMA_SERVER) for row in rows.values()]
    beside_python = compared(rows[_BESIDE_PYTHON_SERVER], 2.5, at_least=True, of=MESH, to=PYTHON_SERVER)
    return (*beside_llama_server, beside_python)
