"""A file of results that grows, cut anywhere, and what the next run keeps of it."""

import json

import numpy as np
import pytest

from facealign.results.growing_results import GrowingResults, fingerprint, frame_key, stamp

ENTRIES = {
    f"key{number}": {"file": f"ä{number}.jpg", "faces": [[number, 0.1]] * number} for number in range(6)
}


@pytest.fixture
def path(tmp_path):
    results = GrowingResults(tmp_path / "landmarks.jsonl")
    for key, entry in ENTRIES.items():
        results.add(key, entry)
    results.close()
    return tmp_path / "landmarks.jsonl"


def test_each_line_is_an_entry_in_json(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [{name: line[name] for name in ("file", "faces")} for line in lines] == list(ENTRIES.values())


def test_entries_come_in_the_order_that_is_asked_for(path):
    results = GrowingResults(path)
    assert results.resume(set(ENTRIES)) == 6
    keys = [*reversed(ENTRIES), "key0"]
    assert list(results.records(keys)) == [ENTRIES[key] for key in keys]


def test_cut_anywhere_it_goes_on_after_the_last_whole_line(path):
    whole = path.read_bytes()
    ends = np.cumsum([0, *(len(line) for line in whole.splitlines(keepends=True))])
    for size in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:size])
        results = GrowingResults(path)
        kept = results.resume(set(ENTRIES))
        assert kept == (ends <= size).sum() - 1
        for key in list(ENTRIES)[kept:]:
            assert key not in results
            results.add(key, ENTRIES[key])
        results.close()
        assert path.read_bytes() == whole


def test_a_changed_byte_ends_what_is_kept(path):
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        data = bytearray(whole)
        data[at] ^= 4
        line = data[:at].count(b"\n")
        path.write_bytes(bytes(data))
        results = GrowingResults(path)
        results.resume(set(ENTRIES))
        before = [f"key{number}" for number in range(line)]
        assert all(key in results for key in before)
        assert f"key{line}" not in results
        assert list(results.records(before)) == list(ENTRIES.values())[:line]


def test_nothing_of_other_settings_is_kept_and_nothing_lost_before_an_entry_comes(path):
    before = path.read_bytes()
    results = GrowingResults(path)
    assert results.resume({"other"}) == 0
    assert path.read_bytes() == before
    results.add("other", {"file": "x"})
    results.close()
    assert [json.loads(line)["file"] for line in path.read_text().splitlines()] == ["x"]


def test_finished_results_are_not_taken_for_those_of_a_stopped_run(path):
    """They have no keys."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES.values()))
    assert GrowingResults(path).resume(set(ENTRIES)) == 0
    assert GrowingResults(path).resume_frames("run") == (0, None)


def test_frames_go_on_after_the_last_with_a_state(tmp_path):
    path = tmp_path / "landmarks.jsonl"
    results = GrowingResults(path)
    for number in range(10):
        state = {"seen": number / 7} if number in (3, 6) else None
        results.add(frame_key("run", number), {"frame": number, "text": '"state": {'}, state)
    results.close()
    assert GrowingResults(path).resume_frames("another") == (0, None)
    results = GrowingResults(path)
    assert results.resume_frames("run") == (7, {"seen": 6 / 7})
    assert list(results.records([frame_key("run", 6)])) == [{"frame": 6, "text": '"state": {'}]
    assert frame_key("run", 7) not in results
    results.add(frame_key("run", 7), {"frame": "new"})
    results.close()
    assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [*range(7), "new"]


def test_a_fingerprint_is_of_all_its_parts_and_a_stamp_of_the_file(tmp_path):
    made = [fingerprint("a", 1), fingerprint("a", 2), fingerprint("b", 1), fingerprint(["a", 1])]
    assert len(set(made)) == 4
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert stamp(tmp_path / "none") is None
    (tmp_path / "a").write_bytes(b"12")
    first = stamp(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"123")
    assert stamp(tmp_path / "a") != first
