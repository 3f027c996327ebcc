from pathlib import Path

import pytest

from threadmesh.cli.plan import Plan, endpoints, make_plan
from threadmesh.cli.up import Wishes, planned, welcome
from threadmesh.settings import ConfigurationError

HOME = Path("/srv/mesh")


def plan(**environment: str) -> Plan:
    return make_plan(environment, data_directory=HOME, stop_seconds=5)


def test_the_units_start_in_the_order_of_their_dependence_on_the_usual_ports() -> None:
    assert [(each.unit, each.address) for each in plan().programs] == [
        ("context", "127.0.0.1:50053"),
        ("tools", "127.0.0.1:50052"),
        ("inference", "127.0.0.1:50051"),
        ("facade", "127.0.0.1:8080"),
    ]
    assert sorted(each.port for each in endpoints(plan())) == [8080, 9101, 9102, 9103, 50051, 50052, 50053]


def test_the_facade_is_told_where_the_others_are() -> None:
    environment = plan(TOOLS_PORT="6000", FACADE_CONTEXT_TARGET="elsewhere:1").programs[3].environment

    assert environment["FACADE_TOOLS_TARGET"] == "127.0.0.1:6000"
    assert environment["FACADE_INFERENCE_TARGET"] == "127.0.0.1:50051"
    assert environment["FACADE_CONTEXT_TARGET"] == "elsewhere:1"
    assert "FACADE_FACADE_TARGET" not in environment


def test_all_units_are_told_the_data_directory() -> None:
    assert {each.environment["THREADMESH_DATA_DIR"] for each in plan().programs} == {"/srv/mesh"}


def test_a_port_of_zero_becomes_a_free_one() -> None:
    made = plan(FACADE_PORT="0", INFERENCE_METRICS_PORT="0")

    assert not made.url.endswith(":0")
    assert all(each.port for each in endpoints(made))


def test_a_unit_that_listens_everywhere_is_asked_on_loopback() -> None:
    assert plan(FACADE_LISTEN="0.0.0.0").url == "http://127.0.0.1:8080"
    assert plan(FACADE_LISTEN="::").url == "http://[::1]:8080"


@pytest.mark.parametrize("port", ["http", "-1", "70000", ""])
def test_a_port_that_is_none_is_a_wrong_configuration(port: str) -> None:
    with pytest.raises(ConfigurationError, match="FACADE_PORT"):
        plan(FACADE_PORT=port)


def test_the_command_line_goes_before_the_environment_which_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "threadmesh.toml"
    file.write_text('[inference]\nmodel = "/file.gguf"\nthreads = 1\nsequences = 2\n[facade]\nport = 1\n')
    wishes = Wishes(config=file, model="/line.gguf")

    made, _ = planned(wishes, environment={"INFERENCE_THREADS": "7", "INFERENCE_MODEL": "/environment.gguf"})

    found = made.programs[2].environment
    assert found["INFERENCE_MODEL"] == "/line.gguf"
    assert found["INFERENCE_THREADS"] == "7"
    assert found["INFERENCE_SEQUENCES"] == "2"
    assert made.url == "http://127.0.0.1:1"


def test_a_models_path_does_not_depend_on_the_folder_but_a_hub_reference_stays_as_it_is() -> None:
    assert planned(Wishes(model="m.gguf"), environment={})[0].model == str(Path.cwd() / "m.gguf")
    assert planned(Wishes(model="none"), environment={})[0].model == "none"
    assert planned(Wishes(model="hf:o/r/m.gguf"), environment={})[0].model == "hf:o/r/m.gguf"


def test_the_welcome_says_where_everything_is_and_how_to_try_it() -> None:
    text = welcome(plan(FACADE_API_KEYS="k"), environment={"THREADMESH_DATA_DIR": "/srv/mesh"})

    assert "http://127.0.0.1:8080/v1/chat/completions" in text
    assert "Authorization: Bearer" in text
    assert "http://127.0.0.1:9101/metrics" in text
    assert "/srv/mesh/logs" in text
    assert "threadmesh down" in text
    assert "--data-dir" not in text


def test_the_welcome_names_a_data_directory_that_is_not_the_usual_one() -> None:
    assert "threadmesh down --data-dir /srv/mesh" in welcome(plan(), environment={})
    assert "Authorization" not in welcome(plan(), environment={})


def test_the_welcome_shows_the_key_where_a_file_of_keys_is_used(tmp_path: Path) -> None:
    assert "Authorization" in welcome(plan(FACADE_KEYS_FILE="/etc/keys.toml"), environment={})

    (tmp_path / "keys.toml").touch()
    assert make_plan({}, data_directory=tmp_path, stop_seconds=1).needs_key
