"""What tool servers ask models: the run's own model answers, in the same turn."""

from contextlib import aclosing
from dataclasses import replace

from facade.domain.answer import Answer as Said
from facade.domain.call_log import CallLog
from facade.domain.limits import Limits, Mesh
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation
from facade.domain.progress import Progress
from threadmesh.conversation import FinishReason
from threadmesh.errors import MeshError
from threadmesh.questions import Answer, AnswerAction, SamplingRequest
from threadmesh.retry import persist
from threadmesh.sampling import Sampling


class ModelReply:
    """Answers for the run's model. What that costs is the run's; nothing of it stands in the log or in the thread."""

    def __init__(self, mesh: Mesh, parameters: TurnParameters, limits: Limits, at: Progress) -> None:
        self._mesh, self._parameters, self._limits, self._at = mesh, parameters, limits, at

    async def __call__(self, log: CallLog, call_id: str) -> None:
        """Answer what a call asks of models; one that asks nothing else can go on."""
        required = log.asking[call_id]
        given = [
            await self._answer(question.id, question.asked)
            for question in required.open
            if isinstance(question.asked, SamplingRequest)
        ]
        log.answer(call_id, replace(required, given=(*required.given, *given)))

    async def _answer(self, question_id: str, request: SamplingRequest) -> Answer:
        """Let the model answer; where it cannot, it declines."""
        generation = self._generation(request)
        model = generation.parameters.model or "the default model"
        try:
            said = await self._said(generation)
        except MeshError:
            return Answer(question_id=question_id, action=AnswerAction.DECLINE, model=model)
        self._at.usage += said.usage
        return Answer(
            question_id=question_id,
            action=AnswerAction.ACCEPT,
            text=said.text,
            model=said.started.model if said.started else model,
            truncated=said.reason is FinishReason.LENGTH,
        )

    async def _said(self, generation: Generation) -> Said:
        """Hear the model to its end; one that breaks off is asked again, as nobody has heard anything of it."""

        async def hear() -> Said:
            said = Said()
            async with aclosing(self._mesh.inference.generate(generation)) as events:
                async for event in events:
                    said.add(event)
            return said

        return await persist(hear, seconds=self._limits.return_seconds, budget=self._mesh.retries.answers)

    def _generation(self, request: SamplingRequest) -> Generation:
        answering = self._at.answer.started
        parameters = TurnParameters(
            model=answering.model if answering else self._parameters.model,
            sampling=Sampling(temperature=request.temperature),
            max_tokens=min(request.max_tokens, self._limits.sampling_tokens),
            stop=request.stop,
            cache_scope=self._parameters.cache_scope,
            caller=self._parameters.caller,
        )
        return Generation(messages=request.messages, tools=(), tool_choice=None, parameters=parameters)
