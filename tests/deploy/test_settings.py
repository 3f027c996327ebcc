"""The variables of the manifests are settings of the units, and their values are accepted."""

import pytest

from context_svc.settings import ContextSettings
from facade.settings import FacadeSettings
from inference_svc.settings import InferenceSettings
from tests.deploy.manifests import Manifests
from threadmesh.settings import ProcessSettings
from tools_svc.settings import ToolsSettings

SETTINGS: dict[str, type[ProcessSettings]] = {
    "inference": InferenceSettings,
    "tools": ToolsSettings,
    "context": ContextSettings,
    "facade": FacadeSettings,
}


@pytest.mark.parametrize("unit", SETTINGS)
def test_a_unit_starts_with_the_variables_of_its_pod(
    manifests: Manifests, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = manifests.container(unit)
    environment = {each["name"]: each.get("value", "a-secret") for each in container["env"]}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    settings = SETTINGS[unit].load(environment)

    ports = {each["containerPort"] for each in container["ports"]}
    assert ports == {getattr(settings, name) for name in ("port", "metrics_port") if hasattr(settings, name)}
    assert settings.listen == "0.0.0.0"
