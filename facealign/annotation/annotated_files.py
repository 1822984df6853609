"""The files of annotated photos: landmarks, and copies of the photos, as they are written and found again."""

import math
import shutil
from pathlib import Path

from facealign.annotation.annotator import AnnotatedPhoto, Photo
from facealign.annotation.description import Record, pts_names
from facealign.datasets.pts import write_pts
from facealign.io.addresses import is_remote
from facealign.io.atomic import replacing
from facealign.io.reading import read_bytes


def is_done(photo: Photo, entry: Record | None, stamp: str | None, output: Path) -> bool:
    """Whether the photo is as it was when it was annotated, and its landmarks are still there.

    stamp: of the photo as it is.
    """
    if entry is None or entry["stamp"] != stamp:
        return False
    names = pts_names(photo.name, len(entry["faces"]))
    kept = zip(names, entry["faces"], strict=True)
    return all(face["left_out"] or (output / name).exists() for name, face in kept)


def written_entry(
    photo: Photo, result: AnnotatedPhoto, names: set[str], output: Path, with_photos: bool
) -> Record:
    """Write the landmarks of a photo's faces; its entry in the description.

    names: of all photos, without suffix, whose files those of this photo must not replace.
    """
    files = pts_names(photo.name, len(result.faces))
    taken = [file for file in files if len(files) > 1 and file.removesuffix(".pts") in names]
    if taken:
        error = f"{photo.path}: shows several faces, one of which would be named as another photo: {taken[0]}"
        return {"stamp": result.stamp, "error": f"{error}; rename one", "faces": []}
    faces = []
    for file, face in zip(files, result.faces, strict=True):
        path = output / file
        if not face.left_out:
            if with_photos:
                with replacing(path.with_suffix(photo.path.suffix)) as partial:
                    if is_remote(photo.path):
                        partial.write_bytes(read_bytes(photo.path, "expected an image"))
                    else:
                        shutil.copyfile(photo.path, partial)
            write_pts(path, face.landmarks)
        faces.append(
            {
                "file": file,
                "box": face.box.round(3).tolist(),
                "score": None if face.score is None else round(face.score, 5),
                "confidence": round(face.confidence, 3),
                "disagreement": round(face.disagreement, 3) if math.isfinite(face.disagreement) else None,
                "left_out": face.left_out,
            }
        )
    return {"stamp": result.stamp, "error": result.error, "faces": faces}


def remove_others(
    photo: Photo, before: Record | None, entry: Record, output: Path, with_photos: bool
) -> None:
    """Remove what an earlier version of a photo left: landmarks of faces that are no longer used."""
    known = 0 if before is None else len(before["faces"])
    used = {face["file"] for face in entry["faces"] if not face["left_out"]}
    for name in {*pts_names(photo.name, known), *pts_names(photo.name, len(entry["faces"]))} - used:
        path = output / name
        path.unlink(missing_ok=True)
        if with_photos:
            path.with_suffix(photo.path.suffix).unlink(missing_ok=True)
