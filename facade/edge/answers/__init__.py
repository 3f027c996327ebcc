"""What the API answers, for its OpenAPI document, a module for each topic.

Answers are written elsewhere, from the logs of runs. The tests hold every answer against these; fields that OpenAI has
and that are empty here are left out.
"""

from pydantic import BaseModel

from facade.edge.answers import chat, common, kept, models, responses, runs, texts, threads


def all_answers() -> list[type[BaseModel]]:
    """Give every model of this package."""
    modules = (common, chat, responses, models, runs, threads, kept, texts)
    return [
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module.__name__
    ]
