"""One mesh for all end-to-end tests: it loads a real model."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.e2e.mesh import Mesh, configured


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = configured(tmp_path_factory.mktemp("mesh"))
    mesh.up()
    try:
        yield mesh
    finally:
        mesh.cli("down")


@pytest.fixture(scope="session")
def openai(mesh: Mesh) -> Iterator[OpenAI]:
    with mesh.openai() as client:
        yield client
