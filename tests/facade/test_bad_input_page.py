"""The page on bad input names tests that are there."""

import re

from tests.deploy.manifests import ROOT


def test_every_test_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "bad-input.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))

    assert len(named) > 40
    assert named - set(re.findall(r"def (test_\w+)\(", sources)) == set()
    for path in set(re.findall(r"`(tests/[\w/]+\.py)`", page)):
        assert (ROOT / path).exists()
