"""The unit is built from its settings: ready once the model is loaded, stopped plainly where it cannot be."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from inference_svc.adapters.llama_cpp.options import WeightsOptions
from inference_svc.adapters.llama_cpp.threads import available_cores
from inference_svc.adapters.measured_backend import MeasuredBackend, Metrics
from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.app import app
from inference_svc.configuration import drawing, weights
from inference_svc.domain.sampling import Drawing
from inference_svc.domain.weights import Form
from inference_svc.settings import InferenceSettings
from tests.inference_svc.engines import answered, bundled_model, prompt
from tests.inference_svc.tiny_model import write_model
from tests.inference_svc.tiny_models import tiny_encoder
from tests.inference_svc.tiny_projector import write_projector
from threadmesh.errors import BackendUnavailable, Overloaded
from threadmesh.settings import ConfigurationError

SCRIPT = '{"rules": [{"match": "full", "refuse": {"reason": "OVERLOADED"}}]}'


def settings(**chosen: object) -> InferenceSettings:
    return InferenceSettings.model_validate({"port": 0, "metrics_port": 0, "weights": "file", **chosen})


@pytest.mark.model
async def test_the_unit_is_not_ready_until_its_model_is_loaded() -> None:
    async with app(settings(context_tokens=256), CollectorRegistry()) as unit:
        with pytest.raises(BackendUnavailable):
            await unit.ping()
        async with asyncio.timeout(60):
            while True:
                try:
                    await unit.ping()
                except BackendUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    break


def test_requests_are_drawn_as_suits_the_model_unless_the_settings_say_otherwise() -> None:
    suited = drawing(settings(), bundled=True)

    assert suited.temperature < drawing(settings(), bundled=False).temperature
    assert drawing(settings(temperature=0.0, repeat_penalty=1.0), bundled=True) == Drawing(
        temperature=0.0, top_p=suited.top_p, repeat_penalty=1.0
    )


def test_weights_are_measured_unless_the_settings_name_a_form(tmp_path: Path) -> None:
    measured = weights(InferenceSettings.model_validate({"models_dir": tmp_path, "weights_bytes": 7}))

    assert measured == WeightsOptions(form=None, directory=tmp_path / "prepared", budget=7)
    assert weights(settings(weights="f16")).form is Form.F16


@pytest.mark.parametrize("model", ["/no/such/model.gguf", "hf:nonsense", "none"])
async def test_a_model_that_cannot_be_served_stops_the_start(model: str) -> None:
    with pytest.raises(ConfigurationError, match="INFERENCE_MODEL"):
        async with app(settings(model=model), CollectorRegistry()):
            pass


async def test_a_projector_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.gguf")
    with pytest.raises(ConfigurationError, match="INFERENCE_PROJECTOR: there is no file"):
        async with app(settings(model=str(model), projector=str(tmp_path / "missing.gguf")), CollectorRegistry()):
            pass


async def test_a_chat_template_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.gguf")
    missing = str(tmp_path / "missing.jinja")
    with pytest.raises(ConfigurationError, match=r"INFERENCE_CHAT_TEMPLATE: .* cannot be read"):
        async with app(settings(model=str(model), chat_template=missing), CollectorRegistry()):
            pass


async def test_a_chat_template_that_is_not_valid_stops_the_unit(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.gguf")
    wrong = tmp_path / "wrong.jinja"
    wrong.write_text("{% for %}")
    with pytest.raises(ConfigurationError, match="template is not valid"):
        async with app(settings(model=str(model), chat_template=str(wrong)), CollectorRegistry()):
            await asyncio.sleep(60)


async def test_a_projector_of_another_model_stops_the_unit_with_one_line(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.gguf")
    projector = write_projector(tmp_path / "mmproj.gguf", sees="mlp")
    with pytest.raises(ConfigurationError) as caught:
        async with app(settings(model=str(model), projector=str(projector)), CollectorRegistry()):
            await asyncio.sleep(60)

    assert f"{projector} is not a usable projector" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.model
@pytest.mark.parametrize("size", [0, 2_000, 50_000_000])
async def test_a_corrupt_model_stops_the_start_with_one_line(tmp_path: Path, size: int) -> None:
    corrupt = tmp_path / "corrupt.gguf"
    corrupt.write_bytes(bundled_model().read_bytes()[:size])

    with pytest.raises(ConfigurationError) as caught:
        async with app(settings(model=str(corrupt)), CollectorRegistry()):
            pass

    assert str(corrupt) in caught.value.message
    assert "\n" not in caught.value.message


async def test_a_model_that_cannot_be_fetched_stops_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(ConfigurationError, match="cannot be fetched"):
        async with app(settings(model="hf:a/b/c.gguf", models_dir=tmp_path), CollectorRegistry()):
            await asyncio.sleep(60)


@pytest.mark.parametrize("chosen", [{"model": "none"}, {"model_name": "other"}, {"model": "a.gguf"}])
async def test_a_models_file_goes_with_no_other_model(tmp_path: Path, chosen: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="INFERENCE_MODELS_FILE"):
        async with app(settings(models_file=str(tmp_path / "models.toml"), **chosen), CollectorRegistry()):
            pass


async def test_a_model_may_not_be_named_like_the_scripted_one(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "model.gguf")
    (tmp_path / "script.json").write_text(SCRIPT)
    (tmp_path / "models.toml").write_text('[models.scripted]\npath = "model.gguf"\nload = "lazy"\n')
    chosen = settings(models_file=str(tmp_path / "models.toml"), script=str(tmp_path / "script.json"))

    with pytest.raises(ConfigurationError, match="INFERENCE_SCRIPT"):
        async with app(chosen, CollectorRegistry()):
            pass


async def test_a_script_alone_is_enough(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(SCRIPT)

    async with app(settings(model="none", script=str(script)), CollectorRegistry()) as unit:
        await unit.ping()
        assert [service.name for service in unit.services] == ["threadmesh.api.inference.v1.InferenceService"]


async def test_what_is_answered_is_counted() -> None:
    registry = CollectorRegistry()
    backend = MeasuredBackend(ScriptedBackend(Script.model_validate_json(SCRIPT), created=1), Metrics(registry))
    labels = {"model": "scripted", "backend": "scripted"}
    await answered(backend, prompt("hello you"))
    with pytest.raises(Overloaded):
        await answered(backend, prompt("full"))

    def value(name: str, **more: str) -> float | None:
        return registry.get_sample_value(f"threadmesh_inference_{name}", more)

    assert value("requests_total", **labels, outcome="stop") == 1
    assert value("requests_total", **labels, outcome="overloaded") == 1
    assert value("generated_tokens_total", model="scripted") == 4
    assert value("time_to_first_token_seconds_count", **labels) == 1
    assert value("model_loaded", model="scripted") == 1


def test_a_containers_quota_limits_the_cores(tmp_path: Path) -> None:
    unlimited = available_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("100000 100000\n")

    assert unlimited >= 1
    assert available_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == unlimited
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cores(tmp_path) == 1
