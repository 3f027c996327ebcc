import subprocess
import sys
from pathlib import Path


def test_a_bad_servers_file_ends_the_start_with_status_78_and_one_line(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {\n  "a": {"command": "x", "timeout_seconds": 0}\n}}')
    environment = {"TOOLS_SERVERS_FILE": str(file), "TOOLS_PORT": "0", "TOOLS_METRICS_PORT": "0"}

    ended = subprocess.run(
        [sys.executable, "-m", "tools_svc"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 78
    assert f"{file}:2: a.timeout_seconds: " in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
