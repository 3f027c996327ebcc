"""openai-agents, with its models of responses and of chat completions."""

import asyncio

from agents import (
    Agent,
    HostedMCPTool,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import APIStatusError, AsyncOpenAI


@function_tool
def mine(a: int) -> str:
    """Do what is mine."""
    return f"mine did {a}"


async def failure(agent: Agent) -> int:
    """Give the status with which a broken answer fails; 0 if it does not."""
    try:
        await Runner.run(agent, "break")
    except APIStatusError as error:
        return error.status_code
    return 0


async def main() -> None:
    """Talk, stream, call tools of both sides, go on, and fail."""
    set_tracing_disabled(True)
    client = AsyncOpenAI(max_retries=0)
    for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        agent = Agent(
            name="a", instructions="Be kind.", model=kind(model="scripted", openai_client=client), tools=[mine]
        )
        assert (await Runner.run(agent, "hello")).final_output == "You said: hello"
        streamed = Runner.run_streamed(agent, "think")
        kinds = {event.type async for event in streamed.stream_events()}
        assert "raw_response_event" in kinds
        assert streamed.final_output == "Here it is."
        assert (await Runner.run(agent, "only mine")).final_output == "The tool said: mine did 1"
        assert await failure(agent) == 503

    model = OpenAIResponsesModel(model="scripted", openai_client=client)
    hosted = HostedMCPTool(tool_config={"type": "mcp", "server_label": "workshop", "require_approval": "never"})
    result = await Runner.run(Agent(name="b", model=model, tools=[hosted]), "progress")
    assert result.final_output == "The tool said: done"
    first = await Runner.run(Agent(name="c", model=model), "one")
    second = await Runner.run(Agent(name="c", model=model), "two", previous_response_id=first.last_response_id)
    again = await Runner.run(Agent(name="c", model=model), [*second.to_input_list(), {"role": "user", "content": "x"}])
    assert again.final_output == "You said: x"


asyncio.run(main())
