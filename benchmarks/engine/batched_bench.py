"""llama.cpp's own bench of its batched decoding."""

from benchmarks.engine.speed import Load, Speed, speeds
from benchmarks.model import bundled_model
from benchmarks.peers.llama_cpp import llama_cpp


def batched_bench(load: Load) -> list[Speed]:
    """Measure llama-batched-bench in a process of its own. Raises `BenchmarkError`."""
    cells = max(load.parallel) * (load.prompt + load.generated)
    options = {
        "--model": bundled_model(),
        "--ctx-size": cells,
        "--threads": load.threads,
        "-npp": load.prompt,
        "-ntg": load.generated,
        "-npl": ",".join(map(str, load.parallel)),
        "--output-format": "jsonl",
    }
    return speeds([llama_cpp().batched_bench, *(str(part) for option in options.items() for part in option)])
