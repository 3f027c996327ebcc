"""Which paths keep what is written to them."""

from pathlib import Path

import pytest

from context_svc.adapters.file_systems import kind_of, vanishes

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/vdb /run/keeps xfs rw 0 0
tmpfs /with\\040space tmpfs rw 0 0
overlay /twice overlay rw 0 0
tmpfs /twice tmpfs rw 0 0
broken
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    table = tmp_path / "mounts"
    table.write_text(MOUNTS)
    return table


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/context.db", "ext4"),
        ("/run/context.db", "tmpfs"),
        ("/running/context.db", "ext4"),
        ("/run/keeps/context.db", "xfs"),
        ("/with space/context.db", "tmpfs"),
        ("/twice/context.db", "tmpfs"),
    ],
)
def test_the_innermost_mount_counts_and_of_two_the_later_one(mounts: Path, path: str, kind: str) -> None:
    assert kind_of(Path(path), mounts=mounts) == kind
    assert vanishes(Path(path), mounts=mounts) is (kind == "tmpfs")


def test_nothing_is_said_where_the_system_says_nothing(tmp_path: Path) -> None:
    assert kind_of(Path("/run/x"), mounts=tmp_path / "none") == ""
    assert not vanishes(Path("/run/x"), mounts=tmp_path / "none")
