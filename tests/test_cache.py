"""An array is computed once, appears only when whole, and is computed again if damaged."""

import multiprocessing
import time
from dataclasses import replace

import numpy as np
import pytest

from aeflow_utils.cache import ArraySpec, cached_arrays, key_hash

SPEC = ArraySpec({"what": "ramp"}, (4, 3), "float32")
OTHER = ArraySpec({"what": "other"}, (2,), "uint8")


class CountingFill:
    """Fills with 0, 1, 2, ... and remembers which labels each call was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, arrays):
        self.calls.append(sorted(arrays))
        for array in arrays.values():
            array[:] = np.arange(array.size).reshape(array.shape)


@pytest.fixture
def fill():
    return CountingFill()


def stored(folder, spec=SPEC):
    return folder / f"{key_hash(spec.key)}.npy"


def assert_ramp(array, spec=SPEC):
    expected = np.arange(np.prod(spec.shape), dtype=spec.dtype).reshape(spec.shape)
    np.testing.assert_array_equal(array, expected, strict=True)


def test_second_call_loads_what_the_first_computed(tmp_path, fill):
    for _ in range(2):
        assert_ramp(cached_arrays(tmp_path / "new" / "cache", {0: SPEC}, fill)[0])
    assert fill.calls == [[0]]


def test_another_key_is_another_array(tmp_path, fill):
    cached_arrays(tmp_path, {0: SPEC}, fill)
    cached_arrays(tmp_path, {0: replace(SPEC, key={"what": "ramp", "size": 2})}, fill)
    assert fill.calls == [[0], [0]]


def test_key_hash_does_not_depend_on_the_order_of_entries():
    assert key_hash({"a": 1, "b": 2}) == key_hash({"b": 2, "a": 1}) != key_hash({"a": 2, "b": 1})


def test_only_the_missing_arrays_are_filled(tmp_path, fill):
    cached_arrays(tmp_path, {0: SPEC}, fill)
    arrays = cached_arrays(tmp_path, {8: SPEC, 16: OTHER}, fill)
    assert fill.calls == [[0], [16]]
    assert list(arrays) == [8, 16]
    assert_ramp(arrays[8])
    assert_ramp(arrays[16], OTHER)


def test_exception_in_fill_leaves_no_file_and_no_lock(tmp_path, fill):
    def failing(arrays):
        arrays[0][:2] = 1
        assert list(tmp_path.glob("*.partial"))
        raise RuntimeError("no such image")

    with pytest.raises(RuntimeError, match="no such image"):
        cached_arrays(tmp_path, {0: SPEC, 1: OTHER}, failing)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}
    assert_ramp(cached_arrays(tmp_path, {0: SPEC}, fill)[0])


def test_no_array_is_visible_under_its_own_name_while_it_is_filled(tmp_path):
    def watching(arrays):
        assert list(tmp_path.glob("*.npy")) == []
        arrays[0][:] = 1

    cached_arrays(tmp_path, {0: SPEC}, watching)
    assert sorted(path.suffix for path in tmp_path.glob("*.*") if path.name != ".lock") == [
        ".json",
        ".npy",
    ]


@pytest.mark.parametrize("kept", [0, 40, -1], ids=["empty", "half a header", "one byte short"])
def test_truncated_file_is_computed_again(tmp_path, fill, kept):
    cached_arrays(tmp_path, {0: SPEC}, fill)
    path = stored(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    assert_ramp(cached_arrays(tmp_path, {0: SPEC}, fill)[0])
    assert fill.calls == [[0], [0]]


@pytest.mark.parametrize("change", [{"shape": (3, 4)}, {"dtype": "float64"}])
def test_stored_array_of_another_shape_or_dtype_is_computed_again(tmp_path, fill, change):
    cached_arrays(tmp_path, {0: SPEC}, fill)
    wanted = replace(SPEC, **change)
    assert_ramp(cached_arrays(tmp_path, {0: wanted}, fill)[0], wanted)
    assert fill.calls == [[0], [0]]


def test_arrays_are_read_only_whether_computed_or_loaded(tmp_path, fill):
    for _ in range(2):
        array = cached_arrays(tmp_path, {0: SPEC}, fill)[0]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def slow_worker(folder, log, barrier):
    """One of several processes that ask for the same array at the same time."""

    def slow_fill(arrays):
        with log.open("a") as file:
            file.write("filled\n")
        time.sleep(0.3)
        CountingFill()(arrays)

    barrier.wait(timeout=30)
    assert_ramp(cached_arrays(folder, {0: SPEC}, slow_fill)[0])


def test_several_processes_compute_an_array_once(tmp_path):
    context, log = multiprocessing.get_context("spawn"), tmp_path / "log"
    barrier = context.Barrier(3)
    arguments = (tmp_path / "cache", log, barrier)
    processes = [context.Process(target=slow_worker, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "filled\n"
