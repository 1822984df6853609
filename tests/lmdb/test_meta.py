"""meta.json, and the folder it is in."""

import dataclasses

from facealign.crops.model_spec import ModelSpec
from facealign.lmdb.meta import read_meta, write_meta


def test_a_data_set_that_a_kill_left_without_its_name_is_found(tmp_path):
    """As on a file system where two folders cannot change places in one step."""
    left = tmp_path / ".lmdb.1-7-0.complete"
    for part in ("new", "former"):
        (left / part / "lmdb").mkdir(parents=True)
        write_meta(left / part / "lmdb", {"spec": dataclasses.asdict(ModelSpec()), "parts": {}, "part": part})
    assert read_meta(tmp_path / "lmdb").values["part"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["lmdb"]
