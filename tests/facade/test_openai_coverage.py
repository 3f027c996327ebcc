"""Nothing of OpenAI's requests is ignored by accident."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "openai_coverage.py"


def test_every_property_is_honoured_refused_or_ignored_for_a_reason() -> None:
    told = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout + told.stderr
    assert "chat completions: 28 of 37 honoured, 4 refused" in told.stdout
    assert "text.verbosity: ignored" in told.stdout
