"""What does it bring to announce a request?"""

from collections.abc import Sequence
from time import perf_counter

from benchmarks.contestants.contestant import LLAMA_SERVER, MESH, Contestant
from benchmarks.prompts import Message, Prompts, system, user
from benchmarks.result import FIRST_TOKEN, Measure, Result, Sheet, compared
from benchmarks.stage import Stage
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.codec import encode_message
from threadmesh.conversation import Role, message
from threadmesh.rpc.channel import connect

NAME = "after_warm"
QUESTION = "How long until the first token of a request that was announced by `Warm`?"
CONTESTANTS = (MESH, LLAMA_SERVER)
_REQUESTS = 4
_TURN_WORDS = 12
_ANSWER_TOKENS = 16
_WARM_SECONDS = 60.0
_CONDITION = "persona and question; the mesh was warmed before"
_WARMING = Measure(name="duration of `Warm`", unit="ms")


async def run(stage: Stage) -> Result:
    """Measure the same requests, of which only the mesh was told before: nobody else can be."""
    sheet = Sheet()
    target = stage.mesh.inference

    async def measure(number: int, contestant: Contestant) -> None:
        prompts = Prompts(NAME, number)
        for _ in range(_REQUESTS):
            messages = [system(prompts.persona()), user(prompts.text(_TURN_WORDS))]
            if contestant.name == MESH:
                sheet.add(MESH, _CONDITION, _WARMING, 1_000 * await _warm(target, messages))
            batch = await contestant.send([contestant.ask(messages, tokens=_ANSWER_TOKENS)])
            sheet.add(contestant.name, _CONDITION, FIRST_TOKEN, batch.first_token_milliseconds)

    await stage.alternate(CONTESTANTS, measure)
    claim = compared(sheet.row(_CONDITION, FIRST_TOKEN), 0.5, at_least=False, of=MESH, to=LLAMA_SERVER)
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=(claim,))


async def _warm(target: str, messages: Sequence[Message]) -> float:
    """Announce a request; gives the seconds that took."""
    encoded = [encode_message(message(Role(each["role"]), each["content"])) for each in messages]
    began = perf_counter()
    async with connect(target) as channel:
        await InferenceServiceStub(channel).Warm(pb.WarmRequest(messages=encoded), timeout=_WARM_SECONDS)
    return perf_counter() - began
