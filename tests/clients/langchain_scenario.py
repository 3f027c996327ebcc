"""LangChain's ChatOpenAI, over chat completions and over responses."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import APIError
from pydantic import BaseModel


@tool
def mine(a: int) -> str:
    """Do what is mine."""
    return f"mine did {a}"


class Colour(BaseModel):
    """A colour."""

    name: str


for responses in (False, True):
    model = ChatOpenAI(model="scripted", use_responses_api=responses, max_retries=0)
    answer = model.invoke("hello")
    assert answer.text == "You said: hello"
    assert answer.usage_metadata["total_tokens"] > 0
    streamed = None
    for chunk in model.stream("think"):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.text == "Here it is."
    asked = HumanMessage("only mine")
    bound = model.bind_tools([mine])
    called = bound.invoke([asked])
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("mine", {"a": 1})
    result = ToolMessage(mine.invoke(call["args"]), tool_call_id=call["id"])
    assert bound.invoke([asked, called, result]).text == "The tool said: mine did 1"
    assert model.with_structured_output(Colour, method="json_schema").invoke("colour").name == "red"
    try:
        broken = model.invoke("break")
    except APIError as error:
        broken = error
    assert "No backend" in str(broken)
