import math

from benchmarks.engine.speed import Speed, read_speeds
from benchmarks.metrics import ABORTS, RUNNING, parse_page, step_seconds

PAGE = """# HELP threadmesh_inference_sequences_running Requests being answered.
# TYPE threadmesh_inference_sequences_running gauge
threadmesh_inference_sequences_running{model="a b"} 2.0
threadmesh_inference_sequences_running{model="other"} 1.0
threadmesh_inference_aborts_total{model="a b",phase="prefill"} 3.0
threadmesh_inference_aborts_total{model="a b",phase="decode"} 4.0
threadmesh_inference_step_duration_seconds_bucket{le="+Inf",model="a b"} 10.0
threadmesh_inference_step_duration_seconds_count{model="a b"} 10.0
threadmesh_inference_step_duration_seconds_sum{model="a b"} 1.5
"""


def test_series_of_one_metric_are_added_up_and_narrowed_by_a_label() -> None:
    page = parse_page(PAGE)

    assert page.total(RUNNING) == 3
    assert page.total(ABORTS, 'phase="prefill"') == 3


def test_the_mean_step_is_of_the_steps_between_two_readings() -> None:
    before = parse_page(PAGE)
    after = parse_page(PAGE.replace('_count{model="a b"} 10.0', '_count{model="a b"} 14.0').replace("} 1.5", "} 2.5"))

    assert step_seconds(before, after) == 0.25
    assert math.isnan(step_seconds(before, before))


def test_speeds_are_read_from_the_lines_that_are_json() -> None:
    output = 'main: n_kv_max = 4096\n{"pl": 4, "t_tg": 0.5, "speed_tg": 150.5, "speed": 260.0}\n\nllama_perf: ...\n'

    assert list(read_speeds(output)) == [Speed(parallel=4, generation=150.5, total=260.0)]
