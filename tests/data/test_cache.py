"""A row is computed once, counts as there only when whole, and is computed again if outdated."""

import json
import multiprocessing
import os
import threading
import time

import numpy as np
import pytest
from filelock import FileLock
from helpers import compute_rows

from aeflow_utils.data import cache
from aeflow_utils.data.cache import cached_rows, key_hash, remove_arrays, stored_arrays

KEY, OTHER = {"what": "ramp"}, {"what": "other"}
ALL = list(range(6))


def digest(number):
    return f"{number:032x}"


class CountingFill:
    """The row of a file is its number, everywhere; remembers which files each call was asked for.

    Args:
        files: numbers of the files that are asked for, in their order.
    """

    def __init__(self, files, *names, fail_at=None, unreadable=()):
        self.files, self.names, self.unreadable = files, names or ("a",), unreadable
        self.calls, self.fail_at = [], fail_at

    def __call__(self, block):
        if len(self.calls) == self.fail_at:
            raise RuntimeError("no such image")
        self.calls.append([self.files[position] for position in block])
        shapes = {"a": (3,), "b": ()}
        return {
            name: [
                None if file in self.unreadable else np.full(shapes[name], file, "float32")
                for file in self.calls[-1]
            ]
            for name in self.names
        }


def ask(folder, files=ALL, key=KEY, fill=None, **options):
    """Rows of these files, and which were computed for it."""
    fill = fill or CountingFill(files, **options)
    found = cached_rows(folder, {"a": key}, [digest(file) for file in files], fill, "test")["a"]
    return found, [file for call in fill.calls for file in call]


def assert_rows(rows, files=ALL):
    np.testing.assert_array_equal(rows[:], np.repeat(files, 3).reshape(-1, 3))


def test_second_call_loads_what_the_first_computed(tmp_path):
    for expected in (ALL, []):
        rows, computed = ask(tmp_path / "new" / "cache")
        assert_rows(rows)
        assert computed == expected


def test_only_files_that_were_never_asked_for_are_computed(tmp_path):
    assert ask(tmp_path, [4, 1])[1] == [4, 1]
    rows, computed = ask(tmp_path, [5, 4, 0, 1])
    assert computed == [5, 0]
    assert_rows(rows, [5, 4, 0, 1])


def test_two_listings_of_equal_length_share_files_and_disturb_nobody(tmp_path):
    first, _ = ask(tmp_path, [1, 2, 3])
    second, computed = ask(tmp_path, [3, 9, 1])
    assert computed == [9]
    assert_rows(second, [3, 9, 1])
    assert_rows(first, [1, 2, 3])


def test_a_file_of_other_content_has_another_row_and_the_old_one_stays(tmp_path):
    before, _ = ask(tmp_path, ALL)
    changed = [0, 1, 77, 3, 4, 5]
    after, computed = ask(tmp_path, changed)
    assert computed == [77]
    assert_rows(after, changed)
    assert_rows(before)


def test_files_of_one_content_are_computed_once(tmp_path):
    rows, computed = ask(tmp_path, [3, 3, 1, 3])
    assert computed == [3, 1]
    assert_rows(rows, [3, 3, 1, 3])


def test_another_key_is_another_array(tmp_path):
    ask(tmp_path)
    assert ask(tmp_path, key={**KEY, "size": 2})[1] == ALL


def test_key_hash_does_not_depend_on_the_order_of_entries():
    assert key_hash({"a": 1, "b": 2}) == key_hash({"b": 2, "a": 1}) != key_hash({"a": 2, "b": 1})


def test_rows_that_any_of_several_arrays_lacks_are_computed(tmp_path):
    ask(tmp_path, [0, 1, 2])
    both, keys = CountingFill(ALL, "a", "b"), {"a": KEY, "b": OTHER}
    found = cached_rows(tmp_path, keys, [digest(file) for file in ALL], both, "test")
    assert both.calls == [ALL]
    np.testing.assert_array_equal(found["b"][:], ALL)
    assert_rows(found["a"])


def test_a_row_that_cannot_be_made_has_no_position_and_is_tried_again(tmp_path):
    rows, _ = ask(tmp_path, unreadable=(2,))
    assert (rows.positions >= 0).tolist() == [True, True, False, True, True, True]
    again, computed = ask(tmp_path)
    assert computed == [2]
    assert_rows(again)


def test_a_failure_keeps_the_blocks_before_it_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 2)
    with pytest.raises(RuntimeError, match="no such image"):
        ask(tmp_path, fail_at=2)
    rows, computed = ask(tmp_path)
    assert computed == [4, 5]
    assert_rows(rows)


def stored(folder, ending):
    return folder / f"{key_hash(KEY)}.{ending}"


@pytest.mark.parametrize("torn", [b"", b"half", b"twelve bytes", b"more than one row"])
@pytest.mark.parametrize("half_line", [b"", b"000000", b"\xff"])
def test_a_process_killed_amid_a_row_or_its_line_leaves_nothing_wrong(tmp_path, torn, half_line):
    before, _ = ask(tmp_path, [0, 1])
    for ending, rest in (("rows", torn), ("index", half_line)):
        with stored(tmp_path, ending).open("ab") as file:
            file.write(rest)
    for expected in ([2, 3, 4, 5], []):
        rows, computed = ask(tmp_path)
        assert computed == expected
        assert_rows(rows)
    assert_rows(before, [0, 1])


@pytest.mark.parametrize("ending", ["rows", "index", "json"])
@pytest.mark.parametrize("kept", [0, 40, -1], ids=["empty", "a part", "one byte short"])
def test_what_was_cut_off_is_computed_again(tmp_path, kept, ending):
    ask(tmp_path)
    path = stored(tmp_path, ending)
    content = path.read_bytes()
    path.unlink()  # a new file, as a broken disk or copy gives one: readers keep the old
    path.write_bytes(content[:kept])
    rows, computed = ask(tmp_path)
    assert computed and set(computed) <= set(ALL)
    assert_rows(rows)
    assert ask(tmp_path)[1] == []


def test_a_damaged_row_is_noticed_and_made_again(tmp_path):
    ask(tmp_path)
    content = bytearray(stored(tmp_path, "rows").read_bytes())
    content[36:] = bytes(len(content) - 36)  # the second half is zeros
    stored(tmp_path, "rows").write_bytes(content)
    rows, computed = ask(tmp_path)
    assert computed == [3, 4, 5]
    assert_rows(rows)
    assert ask(tmp_path)[1] == []


@pytest.mark.parametrize("shape", [[2], [3, 2000]])
def test_a_form_that_tells_of_other_rows_cuts_nothing_that_is_read(tmp_path, shape):
    wide = {"what": "wide"}

    def fill(block):  # a row fills several pages: a map that ends amid one is a SIGBUS
        return {"a": [np.full((3, 1500), number, "float32") for number in block]}

    def rows(files):
        return cached_rows(tmp_path, {"a": wide}, list(map(digest, files)), fill, "test")["a"]

    before = rows(ALL)
    form, file = (tmp_path / f"{key_hash(wide)}.{end}" for end in ("json", "rows"))
    form.write_text(json.dumps(json.loads(form.read_text()) | {"shape": shape}))
    held = file.open("rb")
    for _ in range(2):
        np.testing.assert_array_equal(rows(ALL)[:][:, 0, 0], ALL)
        assert file.stat().st_size == before.nbytes  # made again once
    assert os.fstat(held.fileno()).st_size == before.nbytes
    np.testing.assert_array_equal(before[:][:, 2, 1499], ALL)


def test_arrays_are_read_only_whether_computed_or_loaded(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            ask(tmp_path)[0].array[0] = 1


def test_several_processes_compute_a_row_once(tmp_path):
    context, log = multiprocessing.get_context("spawn"), tmp_path / "log"
    barrier = context.Barrier(3)
    arguments = (tmp_path / "cache", KEY, list(map(digest, ALL)), log, barrier)
    processes = [context.Process(target=compute_rows, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "filled\n"


def of_set(name):
    return {**KEY, "dataset": name}


def test_stored_arrays_are_named_and_count_the_room_they_take(tmp_path):
    ask(tmp_path, key=of_set("elpv"))
    ask(tmp_path, [0], key=of_set("oct2017"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.pth").write_bytes(b"kept")
    found = {array.key["dataset"]: array for array in stored_arrays(tmp_path)}
    assert set(found) == {"elpv", "oct2017"}
    assert all(0 < array.n_bytes < 100_000 for array in found.values())


def test_clearing_removes_arrays_of_one_set_or_all_and_they_are_computed_again(tmp_path):
    for name in ("elpv", "oct2017"):
        held, _ = ask(tmp_path, key=of_set(name))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.pth").write_bytes(b"kept")
    assert [array.key["dataset"] for array in remove_arrays(tmp_path, "elpv")] == ["elpv"]
    assert [array.key["dataset"] for array in stored_arrays(tmp_path)] == ["oct2017"]
    assert len(remove_arrays(tmp_path)) == 1
    assert stored_arrays(tmp_path) == [] == remove_arrays(tmp_path / "absent")
    assert_rows(held)  # who had it open reads on
    assert (tmp_path / "weights" / "net.pth").read_bytes() == b"kept"
    rows, computed = ask(tmp_path, key=of_set("elpv"))
    assert computed == ALL
    assert_rows(rows)


def test_clearing_waits_while_another_process_computes(tmp_path):
    ask(tmp_path)
    removed = []
    with FileLock(tmp_path / ".lock"):
        thread = threading.Thread(target=lambda: removed.extend(remove_arrays(tmp_path)))
        thread.start()
        time.sleep(0.2)
        assert removed == [] and len(stored_arrays(tmp_path)) == 1
    thread.join(timeout=10)
    assert len(removed) == 1 and stored_arrays(tmp_path) == []


@pytest.mark.parametrize(("name", "value"), [("dtype", "int32"), ("shape", [1]), ("shape", [0])])
def test_a_damaged_form_makes_no_other_numbers_of_the_same_bytes(name, value, tmp_path):
    ask(tmp_path)
    form = stored(tmp_path, "json")
    form.write_text(json.dumps(json.loads(form.read_text()) | {name: value}))
    rows, computed = ask(tmp_path)
    assert computed == ALL
    assert_rows(rows)


@pytest.mark.parametrize("content", ['{"key": [1]}', "[" * 100_000, "3"])
def test_a_damaged_form_is_listed_and_removed(content, tmp_path):
    ask(tmp_path)
    stored(tmp_path, "json").write_text(content)
    assert [array.key for array in stored_arrays(tmp_path)] == [{}]
    assert len(remove_arrays(tmp_path)) == 1
