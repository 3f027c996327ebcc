"""How long does somebody wait for the first word when the conversation goes on?"""

from benchmarks.contestants.contestant import LLAMA_SERVER, MESH, Contestant
from benchmarks.prompts import Message, Prompts, assistant, user
from benchmarks.result import FIRST_TOKEN, Result, Sheet, compared
from benchmarks.stage import Stage

NAME = "later_turns"
QUESTION = "How long until the first token of a later turn, when twice as many conversations as slots take turns?"
CONTESTANTS = (MESH, LLAMA_SERVER)
_CONVERSATIONS = 8
_TURNS = 4
_OPENING_WORDS = 60
_TURN_WORDS = 20
_ANSWER_TOKENS = 16
_CONDITION = f"{_CONVERSATIONS} conversations in turn, turns 2 to {_TURNS}"


async def run(stage: Stage) -> Result:
    """Measure conversations that wait for each other; every turn sends its whole history."""
    sheet = Sheet()

    async def measure(number: int, contestant: Contestant) -> None:
        prompts = Prompts(NAME, number)
        conversations: list[list[Message]] = [[] for _ in range(_CONVERSATIONS)]
        for turn in range(_TURNS):
            for history in conversations:
                history.append(user(prompts.text(_TURN_WORDS if turn else _OPENING_WORDS)))
                batch = await contestant.send([contestant.ask(history, tokens=_ANSWER_TOKENS)])
                history.append(assistant(batch.answers[0].text))
                if turn:
                    sheet.add(contestant.name, _CONDITION, FIRST_TOKEN, batch.first_token_milliseconds)

    await stage.alternate(CONTESTANTS, measure)
    target = compared(sheet.row(_CONDITION, FIRST_TOKEN), 0.8, at_least=False, of=MESH, to=LLAMA_SERVER)
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=(target,))
