"""Write `threadmesh/api` from the protos beside this file.

    python proto/generate.py             regenerate the Python code and the descriptor set
    python proto/generate.py --check     exit 1 and name the files when the committed code is not what the protos say

The protos import `google/api` and `buf/validate`. Neither is copied into this repository: the first comes from the
installed googleapis-common-protos, the second from the descriptor inside the installed protovalidate. The generated
code keeps the validation rules but not the import, because protovalidate reads them from the options themselves and
carries no module for the google.protobuf runtime.

`.build/threadmesh.binpb` (ignored by git) is the whole API with comments: what buf lints and compares.
`.build/envoy.binpb` is the same for Envoy's transcoder, with the error details it needs to print a status.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import google.rpc.status_pb2
import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from protovalidate._gen.buf.validate import validate_pb  # the only offline source of buf/validate/validate.proto

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
BUILD = ROOT / ".build"
GENERATED = Path("threadmesh/api")
VALIDATE = "buf/validate/validate.proto"
DEPENDENCIES = ("google/api/annotations.proto", "google/rpc/status.proto", "google/rpc/error_details.proto")


def main() -> int:
    """Regenerate, or with `--check` compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--descriptors-only", action="store_true", help="write .build/*.binpb and no code")
    parser.add_argument("--source", type=Path, default=PROTO, help="the protos to read (default: this folder)")
    parser.add_argument("--build", type=Path, default=BUILD, help="where descriptor sets go (default: .build)")
    options = parser.parse_args()
    descriptors(options.source, options.build)
    if options.descriptors_only:
        return 0
    if not options.check:
        code(options.source, options.build, ROOT)
        return 0
    with tempfile.TemporaryDirectory() as fresh:
        code(options.source, options.build, Path(fresh))
        stale = sorted(differences(Path(fresh) / GENERATED, ROOT / GENERATED))
    for path in stale:
        print(f"{GENERATED / path} is not what the protos say; run `python proto/generate.py`", file=sys.stderr)
    return 1 if stale else 0


def descriptors(source: Path, build: Path) -> None:
    """Write the descriptor sets of the protos under `source` to `build`."""
    build.mkdir(parents=True, exist_ok=True)
    google_files = Path(google.rpc.status_pb2.__file__).parents[2]
    bundled = Path(grpc_tools.__file__).parent / "_proto"
    dependencies = build / "dependencies.binpb"
    protoc(
        "-I", google_files, "-I", bundled, "--include_imports", f"--descriptor_set_out={dependencies}", *DEPENDENCIES
    )
    known = FileDescriptorSet.FromString(dependencies.read_bytes())
    known.file.append(FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary()))
    dependencies.write_bytes(known.SerializeToString())
    protoc(
        "-I", source, f"--descriptor_set_in={dependencies}", "--include_imports", "--include_source_info",
        f"--descriptor_set_out={build / 'threadmesh.binpb'}", *names(source),
    )  # fmt: skip
    protoc(
        "-I", source, f"--descriptor_set_in={dependencies}", "--include_imports",
        f"--descriptor_set_out={build / 'envoy.binpb'}", *names(source), *DEPENDENCIES[1:],
    )  # fmt: skip


def code(source: Path, build: Path, root: Path) -> None:
    """Write the Python modules and stubs of the protos under `source` to `root`/threadmesh/api."""
    bare = build / "bare.binpb"
    bare.write_bytes(without_validate(FileDescriptorSet.FromString((build / "threadmesh.binpb").read_bytes())))
    shutil.rmtree(root / GENERATED, ignore_errors=True)
    protoc(
        f"--descriptor_set_in={bare}", f"--python_out={root}", f"--grpc_python_out={root}", f"--mypy_out={root}",
        f"--mypy_grpc_out={root}", *names(source),
    )  # fmt: skip
    for folder in {path.parent for path in (root / GENERATED).rglob("*.py")} | {root / GENERATED}:
        for package in [folder, *folder.parents]:
            if package == root / "threadmesh":
                break
            (package / "__init__.py").write_text('"""Generated from proto/; never edited."""\n')


def without_validate(files: FileDescriptorSet) -> bytes:
    """Drop the import of buf/validate and keep its options, which stay in the descriptors as unknown extensions."""
    bare = FileDescriptorSet()
    for file in files.file:
        if file.name == VALIDATE:
            continue
        if VALIDATE in file.dependency:
            file.dependency.remove(VALIDATE)
        bare.file.append(file)
    return bare.SerializeToString()


def differences(fresh: Path, committed: Path) -> Iterator[Path]:
    """Name the files that only one folder has or that are not the same in both."""
    there = {path.relative_to(fresh) for path in fresh.rglob("*.py*") if path.suffix in {".py", ".pyi"}}
    here = {path.relative_to(committed) for path in committed.rglob("*.py*") if path.suffix in {".py", ".pyi"}}
    yield from there ^ here
    for path in there & here:
        if not filecmp.cmp(fresh / path, committed / path, shallow=False):
            yield path


def names(source: Path) -> list[str]:
    """Name the protos under `source` as they import each other."""
    return sorted(str(path.relative_to(source)) for path in source.rglob("*.proto"))


def protoc(*arguments: str | Path) -> None:
    """Run the protoc of grpcio-tools, with the plugins beside the running Python on its path."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    command = [sys.executable, "-m", "grpc_tools.protoc", *map(str, arguments)]
    result = subprocess.run(command, check=False, env={"PATH": path}, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"protoc failed:\n{result.stderr}")


if __name__ == "__main__":
    sys.exit(main())
