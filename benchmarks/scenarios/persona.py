"""How fast does a bot answer a channel full of people?"""

from benchmarks.contestants.contestant import LLAMA_SERVER, MESH, Contestant
from benchmarks.prompts import Prompts, system, user
from benchmarks.result import FIRST_TOKEN, TOKENS_PER_SECOND, Result, Sheet, compared
from benchmarks.scenarios.throughput import note
from benchmarks.stage import Stage

NAME = "persona"
QUESTION = "How fast is a bot whose requests share one long system prompt, the first time that prompt is seen?"
CONTESTANTS = (MESH, LLAMA_SERVER)
_CLIENTS = 8
_TURN_WORDS = 12
_ANSWER_TOKENS = 48
_CONDITION = f"{_CLIENTS} clients, shared system prompt"


async def run(stage: Stage) -> Result:
    """Measure several clients that send the same system prompt, another one each round."""
    sheet = Sheet()

    async def measure(number: int, contestant: Contestant) -> None:
        prompts = Prompts(NAME, number)
        persona = system(prompts.persona())
        turns = [[persona, user(prompts.text(_TURN_WORDS))] for _ in range(_CLIENTS)]
        bodies = [contestant.ask(turn, tokens=_ANSWER_TOKENS) for turn in turns]
        note(sheet, contestant, _CONDITION, await contestant.send(bodies, clients=_CLIENTS))

    await stage.alternate(CONTESTANTS, measure)
    targets = (
        compared(sheet.row(_CONDITION, FIRST_TOKEN), 0.3, at_least=False, of=MESH, to=LLAMA_SERVER),
        compared(sheet.row(_CONDITION, TOKENS_PER_SECOND), 3.0, at_least=True, of=MESH, to=LLAMA_SERVER),
    )
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=targets)
