"""Names lead to models."""

import pytest

from inference_svc.adapters.adapted_backend import AdaptedBackend
from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.ports import Capability, Model
from inference_svc.domain.router import Router
from threadmesh.errors import ModelNotFound, Unsupported


class Embedding(ScriptedBackend):
    """Says that it makes vectors."""

    def describe(self) -> Model:
        return Model(
            name="vectors",
            backend="scripted",
            context_tokens=8,
            state=super().describe().state,
            fingerprint="",
            created=1,
            capabilities=(Capability.EMBED,),
        )


class Shelf:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def load(self) -> None:
        self.done.append("load")

    async def unload(self) -> None:
        self.done.append("unload")


TALKING = ScriptedBackend(Script(), created=1)
ADAPTED = AdaptedBackend(TALKING, adapter="pirate", fingerprint=str)
EMBEDDING = Embedding(Script(), created=1)


def test_the_first_model_that_can_answers_where_none_is_named() -> None:
    router = Router([TALKING, ADAPTED, EMBEDDING])

    assert router.find("") is TALKING
    assert router.find("", able=Capability.EMBED) is EMBEDDING
    assert Router([EMBEDDING, TALKING]).find("") is TALKING
    assert Router([TALKING]).find("", able=Capability.EMBED) is TALKING


def test_a_named_model_is_found_whatever_it_can() -> None:
    router = Router([TALKING, ADAPTED, EMBEDDING])

    assert router.find("vectors") is EMBEDDING
    assert router.find("pirate") is ADAPTED
    assert [(model.name, model.base) for model in router.models()] == [
        ("scripted", ""),
        ("pirate", "scripted"),
        ("vectors", ""),
    ]
    with pytest.raises(ModelNotFound):
        router.find("absent")


async def test_what_can_be_loaded_is_loaded_by_each_of_its_names() -> None:
    shelf = Shelf()
    router = Router([TALKING, ADAPTED, EMBEDDING], loadable={"scripted": shelf, "pirate": shelf})

    assert (await router.load("")).name == "scripted"
    assert (await router.unload("pirate")).name == "pirate"
    assert shelf.done == ["load", "unload"]
    with pytest.raises(Unsupported, match="always loaded"):
        await router.load("vectors")
    with pytest.raises(ModelNotFound):
        await router.unload("absent")
