from pathlib import Path

import pytest

from tools_svc.adapters.secrets import SecretMissing, expand


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from file\n")

    assert expand(f"a ${{env:X}} b ${{file:{file}}} c", {"X": "from env"}) == "a from env b from file c"


def test_what_is_no_placeholder_stays() -> None:
    assert expand("$HOME ${HOME} $${x} {env:X}", {}) == "$HOME ${HOME} $${x} {env:X}"


def test_what_a_secret_holds_is_not_expanded_again() -> None:
    assert expand("${env:X}", {"X": "${env:Y}", "Y": "no"}) == "${env:Y}"


@pytest.mark.parametrize("value", ["${env:MISSING}", "${file:/no/such/file}", "${vault:x}"])
def test_a_secret_that_is_missing_is_named(value: str) -> None:
    with pytest.raises(SecretMissing):
        expand(value, {})
