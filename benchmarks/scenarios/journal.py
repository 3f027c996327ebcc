"""What does it cost that everything is written down before it is shown?"""

from statistics import median

from benchmarks.contestants.contestant import FORGETFUL_MESH, MESH, Contestant
from benchmarks.prompts import Prompts, user
from benchmarks.result import FIRST_TOKEN, TOKENS_PER_SECOND, Result, Sheet, Target, compared
from benchmarks.scenarios.throughput import note
from benchmarks.stage import Stage

NAME = "journal"
QUESTION = "What does it cost that every token is on the disk before anybody sees it?"
CONTESTANTS = (MESH, FORGETFUL_MESH)
_STREAMS, _ALONE = "8 streams", "1 stream"
_CLIENTS = {_STREAMS: 8, _ALONE: 1}
_REQUESTS_PER_CLIENT = {_STREAMS: 3, _ALONE: 20}
"""Times to the first token vary by much more than the milliseconds that are looked for."""
_PROMPT_WORDS = 20
_ANSWER_TOKENS = 64
_LATER_MILLISECONDS = 5.0


async def run(stage: Stage) -> Result:
    """Measure a mesh with its log on the disk beside one that keeps it in memory."""
    sheet = Sheet()

    async def measure(number: int, contestant: Contestant) -> None:
        for condition, clients in _CLIENTS.items():
            prompts = Prompts(NAME, clients, number)
            count = clients * (1 if stage.quick else _REQUESTS_PER_CLIENT[condition])
            asked = [[user(prompts.text(_PROMPT_WORDS))] for _ in range(count)]
            bodies = [contestant.ask(each, tokens=_ANSWER_TOKENS) for each in asked]
            note(sheet, contestant, condition, await contestant.send(bodies, clients=clients))

    await stage.alternate(CONTESTANTS, measure)
    speed = compared(sheet.row(_STREAMS, TOKENS_PER_SECOND), 0.95, at_least=True, of=MESH, to=FORGETFUL_MESH)
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=(speed, _delay(sheet)))


def _delay(sheet: Sheet) -> Target:
    row = sheet.row(_ALONE, FIRST_TOKEN)
    with_log, without = (median(row.samples[name]) for name in CONTESTANTS)
    claim = (
        f"{_ALONE}: milliseconds that the first token (median) of {MESH} comes later, at most {_LATER_MILLISECONDS:g}"
    )
    return Target(claim=claim, found=with_log - without, limit=_LATER_MILLISECONDS, at_least=False, unit="ms")
