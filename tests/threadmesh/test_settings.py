"""What the settings of every unit promise."""

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from threadmesh.settings import ConfigurationError, UnitSettings, data_directory


class SampleSettings(UnitSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_")

    port: int = 1234
    key: SecretStr = Field(default=SecretStr(""), description="A secret.")


def test_an_unknown_variable_with_the_units_prefix_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SAMPLE_PROT: no such setting"):
        SampleSettings.load({"SAMPLE_PROT": "1"})


def test_variables_of_others_and_of_kubernetes_are_left_alone() -> None:
    environment = {"OTHER_PROT": "1", "SAMPLE_SERVICE_HOST": "10.0.0.1", "SAMPLE_PORT_50052_TCP_ADDR": "10.0.0.1"}

    assert SampleSettings.load(environment).port == 1234


def test_a_wrong_value_is_named_but_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_PORT", "s3cret")

    with pytest.raises(ConfigurationError) as caught:
        SampleSettings.load({})

    assert "SAMPLE_PORT" in caught.value.message
    assert "s3cret" not in caught.value.message


def test_effective_settings_mask_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_KEY", "s3cret")

    effective = SampleSettings.load({}).effective()

    assert effective["key"] == "***"
    assert effective["port"] == 1234


def test_the_data_directory_can_be_chosen() -> None:
    assert str(data_directory({"THREADMESH_DATA_DIR": "/srv/mesh"})) == "/srv/mesh"
    assert str(data_directory({"XDG_DATA_HOME": "/home/a/data"})) == "/home/a/data/threadmesh"
