"""Nothing of OpenAI's requests is ignored by accident."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "docs" / "openai_coverage.py"


def test_every_property_is_honoured_refused_or_ignored_for_a_reason() -> None:
    told = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout + told.stderr
    assert "chat completions: 28 of 37 honoured, 4 refused" in told.stdout
    assert "text.verbosity: ignored" in told.stdout
    assert "functions: refused; is the old form of tools" in told.stdout
    assert "conversations, items: 1 of 1 honoured" in told.stdout
    assert "models: 2 of 3 honoured, 1 refused with a reason\n  delete: refused; models are files" in told.stdout


def described(path: Path, **properties: Any) -> subprocess.CompletedProcess[str]:
    """Compare with a description of chat completions that have these properties, and of the deletion of models."""
    tools = {"type": "array", "items": {"oneOf": [{"$ref": "#/components/schemas/Custom"}]}}
    body = {"content": {"application/json": {"schema": {"properties": {"tools": tools, **properties}}}}}
    custom = {"properties": {"type": {"enum": ["custom"]}, "custom": {"type": "object"}}}
    document = {
        "paths": {"/chat/completions": {"post": {"requestBody": body}}, "/models/{model}": {"delete": {}}},
        "components": {"schemas": {"Custom": custom}},
    }
    text = json.dumps(document).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    command = [sys.executable, str(SCRIPT), "--description", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_description_is_compared_with_the_served_document(tmp_path: Path) -> None:
    audio = {"type": "object", "properties": {"voice": {"type": "string"}}}
    efforts = {"enum": ["none", "low", "max"]}
    told = described(tmp_path / "a.json.gz", audio=audio, reasoning_effort=efforts, verbosity={"type": "string"})

    assert told.returncode == 0, told.stdout + told.stderr
    assert "POST chat/completions: 2 of 5 honoured, 2 refused with a reason" in told.stdout
    assert "  audio: refused; asks for speech, which no model here makes" in told.stdout
    assert "  tools[custom]: refused; tools are functions" in told.stdout
    assert "  verbosity: ignored; models here do not know it" in told.stdout
    assert "DELETE models/{}: 0 of 1 honoured, 1 refused" in told.stdout


def test_what_a_description_has_and_nobody_answers_for_is_missing(tmp_path: Path) -> None:
    told = described(tmp_path / "a.json", zeal={"type": "string"}, reasoning_effort={"enum": ["low", "endless"]})

    assert told.returncode == 1, told.stderr
    assert "  zeal: MISSING" in told.stdout
    assert "  reasoning_effort=endless: MISSING" in told.stdout
