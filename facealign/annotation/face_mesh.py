"""mediapipe's face mesh, a predictor that owes nothing to our training faces, in an environment of its own.

Its package asks for another OpenCV package than ours, so it runs in a process of another interpreter.
"""

import base64
import json
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from facealign.annotation import face_mesh_worker
from facealign.annotation.mesh_map import MESH_MAP, MESH_POINTS, MeshMap
from facealign.arrays import FloatArray, Image
from facealign.caffe_files.caffemodel import named
from facealign.crops.square import crop_transform
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply, compose, invert, shrinking, warp
from facealign.geometry.roll import turn_about
from facealign.inference.looks import LEANS
from facealign.io.reading import parse_json
from facealign.io.schema import list_of, map_of, maybe, number, record, text
from facealign.io.unfinished import temporary_place

SIZE = 256
"""Side of the crop that the mesh's own detector is given, pixels."""
SCALES = (1.5, 2.0)
"""Sides of the crops over the longer side of the box: the second is for a face the first one has not found.

Chosen by cross-validation on training faces, see docs/data.md: wider ones find another face at times.
"""
START, ANSWER = 300.0, 60.0
"""Seconds after which a process is given up: until it is ready, and for a face."""
REMEDY = "make its environment with `make mesh`"
_READY = record({"mediapipe": text(), "files": map_of(text())})
_FACE = record({"points": maybe(list_of(list_of(number(), 3, 3), MESH_POINTS, MESH_POINTS))})


class FaceMesh:
    """The face mesh in a process of its own; use it in a `with` statement, or close it."""

    def __init__(self, python: Path, mesh_map: MeshMap | None = None) -> None:
        """python: an interpreter with mediapipe; mesh_map: to the landmarks, which need one.

        Raises FaceAlignError when it cannot be run, or has no mediapipe.
        """
        self.python = python
        self._map = mesh_map
        self._errors: IO[bytes] = tempfile.TemporaryFile(dir=temporary_place())  # noqa: SIM115
        program = python.absolute() if python.is_file() else python  # a name alone is looked for in PATH
        command = [str(program), "-I", face_mesh_worker.__file__]
        try:
            # A session of its own, as Ctrl-C is the business of this process, whose end ends it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise FaceAlignError(f"{python}: cannot be run ({error.strerror}); {REMEDY}") from error
        try:
            ready = self._read(START)
            if "error" in ready:
                raise FaceAlignError(f"{python}: has no mediapipe that runs ({ready['error']}); {REMEDY}")
            self._check(_READY, ready)
        except BaseException:
            self.close()
            raise
        self.version: str = ready["mediapipe"]
        self.files: dict[str, str] = ready["files"]

    def __enter__(self) -> "FaceMesh":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def described_files(self) -> list[dict[str, str]]:
        """Name and SHA-256 of mediapipe's networks and of the map to the landmarks, as they are stored."""
        networks = [{"weights": name, "sha256": digest} for name, digest in self.files.items()]
        return [*networks, named(MESH_MAP)]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def mesh(
        self, image: Image, box: FloatArray, roll: float = 0.0, scale: float = SCALES[0]
    ) -> FloatArray | None:
        """The mesh points (478, 2) of the face in a box, in pixels of the image; None when there are none.

        Arguments and errors are those of `mesh_in_depth`.
        """
        points = self.mesh_in_depth(image, box, roll, scale)
        return None if points is None else points[:, :2]

    def mesh_in_depth(
        self, image: Image, box: FloatArray, roll: float = 0.0, scale: float = SCALES[0]
    ) -> FloatArray | None:
        """The same with depth, (478, 3): z away from the viewer, in pixels too.

        image: BGR uint8 (h, w, 3); box: (4,), as MTCNN gives it; roll: of the face, degrees, positive
        clockwise; scale: side of the crop over the longer side of the box.
        Raises FaceAlignError when the process ends, or takes longer than a minute.
        """
        affine = crop_transform(box, (SIZE, SIZE), scale)
        if abs(roll) >= LEANS:
            affine = compose(affine, turn_about((box[:2] + box[2:]) / 2, -roll))
        crop = warp(image, affine, (SIZE, SIZE))
        pixels = base64.b64encode(crop.tobytes()).decode()
        with suppress(BrokenPipeError):  # what is read then says why
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"size": [SIZE, SIZE], "pixels": pixels}).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._read(ANSWER)
        self._check(_FACE, answer)
        if answer["points"] is None:
            return None
        points = np.array(answer["points"])
        return np.column_stack([apply(invert(affine), points[:, :2] - 0.5), points[:, 2] * shrinking(affine)])

    def landmarks(
        self, image: Image, box: FloatArray, roll: float = 0.0, scales: Sequence[float] = SCALES
    ) -> list[FloatArray]:
        """The landmarks (68, 2) that follow from the mesh on crops of one scale after the other.

        Those on which no face is found are left out. Arguments and errors are those of `mesh`.
        """
        assert self._map is not None
        meshes = (self.mesh(image, box, roll, scale) for scale in scales)
        return [self._map.landmarks(mesh) for mesh in meshes if mesh is not None]

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next line of the process. Raises FaceAlignError when none comes."""
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            try:
                return parse_json(line.decode())
            except ValueError as error:
                raise FaceAlignError(f"{self.python}: does not answer as the face mesh; {REMEDY}") from error
        code = self._process.wait()
        reason = f"took longer than {seconds:g} s" if late.is_set() else f"ended with code {code}"
        self._errors.seek(0)
        said = self._errors.read()[-1000:].decode(errors="replace").strip().splitlines()
        raise FaceAlignError(
            f"{self.python}: the face mesh {reason}{f': {said[-1]}' if said else ''}; {REMEDY}"
        )

    def _check(self, check: Any, answer: dict[str, Any]) -> None:
        try:
            check(answer, "")
        except ValueError as error:
            raise FaceAlignError(f"{self.python}: does not answer as the face mesh ({error})") from error
