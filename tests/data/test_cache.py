"""A row is computed once, counts as there only when whole, and is computed again if outdated."""

import multiprocessing
import threading
import time

import numpy as np
import pytest
from filelock import FileLock

from aeflow_utils.data import cache
from aeflow_utils.data.cache import cached_rows, key_hash, remove_arrays, stored_arrays

KEY, OTHER, LENGTH = {"what": "ramp"}, {"what": "other"}, 6
ROWS, STAMPS = np.arange(6), np.arange(11, 17, dtype=np.uint32)


class CountingFill:
    """Row r is r, everywhere; remembers which rows each call was asked for."""

    def __init__(self, *names, fail_at=None):
        self.names, self.calls, self.fail_at = names or ("a",), [], fail_at

    def __call__(self, rows):
        if len(self.calls) == self.fail_at:
            raise RuntimeError("no such image")
        self.calls.append(rows.tolist())
        shape = {"a": (len(rows), 3), "b": (len(rows),)}
        values = rows.astype("float32")
        return {
            n: np.broadcast_to(values.reshape(-1, *[1] * (len(shape[n]) - 1)), shape[n])
            for n in self.names
        }


@pytest.fixture
def fill():
    return CountingFill()


def ask(folder, fill, rows=ROWS, stamps=None, key=KEY, length=LENGTH):
    stamps = STAMPS[rows] if stamps is None else stamps
    return cached_rows(folder, {"a": key}, length, np.asarray(rows), stamps, fill, "test")["a"]


def assert_rows(array, rows=ROWS):
    np.testing.assert_array_equal(array[rows], np.repeat(rows, 3).reshape(-1, 3))


def test_second_call_loads_what_the_first_computed(tmp_path, fill):
    for _ in range(2):
        assert_rows(ask(tmp_path / "new" / "cache", fill))
    assert fill.calls == [ROWS.tolist()]


def test_only_rows_that_were_never_asked_for_are_computed(tmp_path, fill):
    ask(tmp_path, fill, np.array([4, 1]))
    array = ask(tmp_path, fill, np.array([5, 4, 0]))
    assert fill.calls == [[1, 4], [0, 5]]
    assert_rows(array, np.array([0, 1, 4, 5]))


def test_a_changed_stamp_computes_that_row_again(tmp_path, fill):
    ask(tmp_path, fill)
    stamps = STAMPS.copy()
    stamps[2] = 99
    ask(tmp_path, fill, stamps=stamps)
    assert fill.calls[1:] == [[2]]


def test_another_key_is_another_array(tmp_path, fill):
    ask(tmp_path, fill)
    ask(tmp_path, fill, key={**KEY, "size": 2})
    assert len(fill.calls) == 2


def test_key_hash_does_not_depend_on_the_order_of_entries():
    assert key_hash({"a": 1, "b": 2}) == key_hash({"b": 2, "a": 1}) != key_hash({"a": 2, "b": 1})


def test_rows_that_any_of_several_arrays_lacks_are_computed(tmp_path, fill):
    ask(tmp_path, fill, np.array([0, 1, 2]))
    both = CountingFill("a", "b")
    keys = {"a": KEY, "b": OTHER}
    found = cached_rows(tmp_path, keys, LENGTH, ROWS, STAMPS, both, "test")
    assert both.calls == [ROWS.tolist()]
    np.testing.assert_array_equal(found["b"], ROWS)
    assert_rows(found["a"])


def test_a_failure_keeps_the_blocks_before_it_and_no_more(tmp_path, fill, monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 2)
    with pytest.raises(RuntimeError, match="no such image"):
        ask(tmp_path, CountingFill(fail_at=2))
    assert_rows(ask(tmp_path, fill))
    assert fill.calls == [[4, 5]]


def test_a_process_killed_between_row_and_stamp_computes_the_row_again(tmp_path, fill):
    ask(tmp_path, fill, np.array([0]))
    array = np.load(tmp_path / f"{key_hash(KEY)}.npy", mmap_mode="r+")
    array[3] = 77  # written, but never stamped
    array.flush()
    assert_rows(ask(tmp_path, fill))
    assert fill.calls == [[0], [1, 2, 3, 4, 5]]


@pytest.mark.parametrize("suffix", [".npy", ".stamps.npy"])
@pytest.mark.parametrize("kept", [0, 40, -1], ids=["empty", "half a header", "one byte short"])
def test_truncated_file_is_computed_again(tmp_path, fill, kept, suffix):
    ask(tmp_path, fill)
    path = tmp_path / f"{key_hash(KEY)}{suffix}"
    path.write_bytes(path.read_bytes()[:kept])
    assert_rows(ask(tmp_path, fill))
    assert fill.calls == [ROWS.tolist()] * 2


def test_a_stored_array_of_another_length_is_computed_again(tmp_path, fill):
    ask(tmp_path, fill)  # before an image was added to the set
    array = ask(tmp_path, fill, length=LENGTH + 1)
    assert_rows(array)
    assert len(array) == LENGTH + 1
    assert fill.calls == [ROWS.tolist()] * 2


def test_arrays_are_read_only_whether_computed_or_loaded(tmp_path, fill):
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            ask(tmp_path, fill)[0] = 1


def slow_worker(folder, log, barrier):
    """One of several processes that ask for the same rows at the same time."""

    def slow_fill(rows):
        with log.open("a") as file:
            file.write("filled\n")
        time.sleep(0.3)
        return CountingFill()(rows)

    barrier.wait(timeout=30)
    assert_rows(ask(folder, slow_fill))


def test_several_processes_compute_a_row_once(tmp_path):
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


def of_set(name):
    return {**KEY, "dataset": name}


def test_stored_arrays_are_named_and_count_only_the_room_they_take(tmp_path, fill):
    ask(tmp_path, fill, key=of_set("elpv"))
    ask(tmp_path, fill, ROWS[:1], key=of_set("oct2017"), length=20_000_000)  # 240 MB, if filled
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.pth").write_bytes(b"kept")
    found = {array.key["dataset"]: array for array in stored_arrays(tmp_path)}
    assert set(found) == {"elpv", "oct2017"}
    assert 0 < found["oct2017"].n_bytes < 1_000_000
    assert found["elpv"].n_bytes > 0


def test_clearing_removes_arrays_of_one_set_or_all_and_they_are_computed_again(tmp_path, fill):
    for name in ("elpv", "oct2017"):
        held = ask(tmp_path, fill, key=of_set(name))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.pth").write_bytes(b"kept")
    assert [array.key["dataset"] for array in remove_arrays(tmp_path, "elpv")] == ["elpv"]
    assert [array.key["dataset"] for array in stored_arrays(tmp_path)] == ["oct2017"]
    assert len(remove_arrays(tmp_path)) == 1
    assert stored_arrays(tmp_path) == [] == remove_arrays(tmp_path / "absent")
    assert_rows(held)  # who had it open reads on
    assert (tmp_path / "weights" / "net.pth").read_bytes() == b"kept"
    assert_rows(ask(tmp_path, fill, key=of_set("elpv")))
    assert len(fill.calls) == 3


def test_clearing_waits_while_another_process_computes(tmp_path, fill):
    ask(tmp_path, fill)
    removed = []
    with FileLock(tmp_path / ".lock"):
        thread = threading.Thread(target=lambda: removed.extend(remove_arrays(tmp_path)))
        thread.start()
        time.sleep(0.2)
        assert removed == [] and len(stored_arrays(tmp_path)) == 1
    thread.join(timeout=10)
    assert len(removed) == 1 and stored_arrays(tmp_path) == []
