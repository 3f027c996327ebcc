"""The variables of the manifests are settings of the units, and their values are accepted."""

import pytest

from context_svc.settings import ContextSettings
from facade.settings import FacadeSettings
from inference_svc.settings import InferenceSettings
from tests.deploy.manifests import Manifests
from threadmesh.links.link import Security
from threadmesh.settings import CallerSettings, UnitSettings
from tools_svc.settings import ToolsSettings

SETTINGS: dict[str, type[UnitSettings] | type[CallerSettings]] = {
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
    link = settings.server_link() if isinstance(settings, UnitSettings) else settings.client_link()
    assert link.security is Security.MTLS
