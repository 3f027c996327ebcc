"""The ids of responses and their items. They hold the run's, so that an id alone finds what it names."""

from facade.domain.events import Run

_RESPONSE, _RUN = "resp_", "run_"


def response_id(run: Run) -> str:
    """Give the id of the response that a run is."""
    return _RESPONSE + run.id.removeprefix(_RUN)


def run_id(response: str) -> str:
    """Give the id of the run that a response is; nobody's for what is no response's id."""
    return _RUN + response.removeprefix(_RESPONSE) if response.startswith(_RESPONSE) else ""


def item_id(kind: str, run: Run, index: int) -> str:
    """Give the id of a response's item of a kind such as `msg`, by its place in the output."""
    return f"{kind}_{run.id.removeprefix(_RUN)}_{index}"
