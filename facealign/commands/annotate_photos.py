"""Which photos `facealign annotate` takes, and the boxes given for them."""

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from facealign.annotation.annotator import Photo
from facealign.commands.messages import problem
from facealign.concurrency.pools import Where
from facealign.datasets.detected_boxes import boxes_for, read_boxes
from facealign.datasets.scan import faces_in
from facealign.errors import FaceAlignError
from facealign.io.addresses import is_remote, walk_remote
from facealign.io.images import SUFFIXES


def photos_of(arguments: argparse.Namespace, where: Where) -> tuple[Any, list[Photo]]:
    """Description of the boxes, None where faces are detected, and the photos, each name once.

    Raises FaceAlignError when there is none.
    """
    if arguments.boxes is not None:
        found = faces_in(arguments.photos, strict=arguments.strict, where=where)
        for _, reason in found.skipped:
            problem("skipped", reason)
        given, faces = read_boxes(arguments.boxes)
        boxes = boxes_for(found.samples, faces, str(arguments.boxes), where)
        pairs = zip(found.samples, boxes, strict=True)
        return given, [Photo(sample.path, sample.relative, face.box) for sample, face in pairs]
    if not is_remote(arguments.photos) and not arguments.photos.is_dir():
        raise FaceAlignError(f"{arguments.photos}: no such folder")
    photos = []
    images = list(images_in(arguments.photos, arguments.output))
    same = Counter(file.with_suffix("") for file in images)
    for file in images:
        if same[file.with_suffix("")] > 1:
            reason = f"{file}: another image beside it has the same name; leave one of them there"
            if arguments.strict:
                raise FaceAlignError(reason)
            problem("skipped", reason)
        else:
            photos.append(Photo(file, file.relative_to(arguments.photos).as_posix()))
    if not photos:
        raise FaceAlignError(f"{arguments.photos}: no image in it; expected {', '.join(SUFFIXES)}")
    return None, photos


def images_in(root: Path, output: Path) -> Iterable[Path]:
    """Image files of a folder and the folders in it, but for hidden ones and `output`, sorted."""

    def failed(error: OSError) -> None:
        raise FaceAlignError(f"{error.filename}: cannot be read ({error.strerror})") from error

    away = output.resolve()
    walked: Iterable[tuple[Path, list[str], list[str]]]
    if is_remote(root):
        walked = walk_remote(root)
    else:
        walked = ((Path(name), below, files) for name, below, files in os.walk(root, onerror=failed))
    for folder, folders, files in walked:
        folders[:] = sorted(
            inner
            for inner in folders
            if not inner.startswith((".", "__MACOSX")) and (folder / inner).resolve() != away
        )
        for file in sorted(files):
            if Path(file).suffix.lower() in SUFFIXES and not file.startswith("."):
                yield folder / file
