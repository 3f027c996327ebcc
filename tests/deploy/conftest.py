"""What the tests of the deployment share: the rendered manifests, and one mesh of real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.manifests import Manifests, load
from tests.deploy.mesh import Mesh, running

KUSTOMIZATIONS = ("deploy/k8s", "deploy/k8s/base", "deploy/k8s/overlays/two-replicas")


@pytest.fixture(scope="session", params=KUSTOMIZATIONS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """Every object of each kustomization that an operator may apply."""
    return load(request.param)


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The four units and Envoy as processes on loopback, started once."""
    directory: Path = tmp_path_factory.mktemp("mesh")
    with running(directory) as started:
        yield started
