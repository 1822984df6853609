"""Faces followed through the frames of a video by one number each, with smoothed landmarks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.geometry.boxes import area, box_from_landmarks, intersection, landmark_box, overlap
from facealign.geometry.head_pose import head_pose
from facealign.inference.face_aligner import FARTHEST, Face, FaceAligner
from facealign.video.assignment import assign
from facealign.video.one_euro import OneEuroFilter, OneEuroSettings

SMALLEST = 4.0
"""Sides of the landmarks' box, pixels, below which there is no face to follow."""


@dataclass(frozen=True)
class TrackerSettings:
    """Settings of the tracker.

    detect_every: frames between two runs of the detector; same_face: overlap of the landmarks' boxes, 0..1,
    from which a detected face is one that is followed; one_face: the same, from which two that are followed
    are one; keep: seconds for which a lost face keeps its number; max_faces: followed at most, the largest
    first (None: all); turns: see FaceAligner.detect_and_align; smoothing: None leaves the landmarks as they
    are predicted.
    """

    detect_every: int = 10
    same_face: float = 0.3
    one_face: float = 0.6
    keep: float = 1.0
    max_faces: int | None = None
    turns: str = "auto"
    smoothing: OneEuroSettings | None = field(default_factory=OneEuroSettings)


@dataclass(frozen=True)
class TrackedFace:
    """A face of a frame. track: its number, from 1, the same in all frames; face: its landmarks smoothed, its
    box as these imply it, its score that of the detector when it last ran.
    """

    track: int
    face: Face


@dataclass
class _Track:
    """A face on its way. landmarks: (68, 2), as predicted; seen: seconds, when it last was; followed: False
    once it is lost.
    """

    number: int
    landmarks: FloatArray
    score: float | None
    doubtful: bool
    smooth: OneEuroFilter | None
    seen: float
    followed: bool = True


class FaceTracker:
    """Finds the faces of successive frames.

    The landmarks of a frame give the crops of the next. The detector runs every `detect_every` frames, and
    when a face is lost: its landmarks become doubtful, or leave the image. What it finds is matched to the
    faces followed by overlap: it confirms them, finds a lost one again, or begins a new track.
    """

    def __init__(self, aligner: FaceAligner, settings: TrackerSettings | None = None) -> None:
        """aligner: opened with a detector."""
        self.aligner = aligner
        self.settings = settings or TrackerSettings()
        self._tracks: list[_Track] = []
        self._next = 1
        self._since = self.settings.detect_every  # frames since the detector ran
        self.detections = 0
        """Runs of the detector so far."""

    def update(self, image: Image, time: float) -> list[TrackedFace]:
        """The faces of the next frame, by track number; time: of the frame, seconds."""
        faces, lost = self._follow(image)
        self._since += 1
        if lost or self._since >= self.settings.detect_every:
            self._detect(image, faces)
        tracked = [self._shown(track, faces[track.number], time) for track in self._tracks if track.followed]
        self._tracks = [track for track in self._tracks if time - track.seen <= self.settings.keep]
        return tracked

    def _follow(self, image: Image) -> tuple[dict[int, Face], bool]:
        """The faces followed, by track number; whether one was lost."""
        before = [track for track in self._tracks if track.followed]
        for track in before:
            track.followed = _can_be_followed(track.landmarks, image)
        tracks = [track for track in before if track.followed]
        found = self.aligner.follow(image, np.array([track.landmarks for track in tracks]))
        faces = {}
        lost = len(tracks) < len(before)
        for track, face in zip(tracks, found, strict=True):
            lost |= face.doubtful and not track.doubtful
            track.landmarks, track.doubtful = face.landmarks, face.doubtful
            faces[track.number] = face
        for track in self._doubles(tracks):
            track.followed = False
        return faces, lost

    def _doubles(self, tracks: Sequence[_Track]) -> list[_Track]:
        """Those of the tracks that are on the same face as an older one."""
        kept: list[_Track] = []
        doubles: list[_Track] = []
        for track in tracks:
            box = landmark_box(track.landmarks)
            on_one = any(overlap(box, landmark_box(one.landmarks)) >= self.settings.one_face for one in kept)
            (doubles if on_one else kept).append(track)
        return doubles

    def _detect(self, image: Image, faces: dict[int, Face]) -> None:
        """Run the detector; confirm, find again, begin and lose tracks. Their faces are put into `faces`."""
        self._since = 0
        self.detections += 1
        found = self.aligner.detect_and_align(image, self.settings.turns)
        boxes = np.array([landmark_box(face.landmarks) for face in found])
        known = np.array([landmark_box(track.landmarks) for track in self._tracks])
        pairs = dict(assign(known, boxes, self.settings.same_face))
        for index, track in enumerate(self._tracks):
            if index not in pairs:
                track.followed &= not track.doubtful
                continue
            face = found[pairs[index]]
            track.score = face.score
            if not track.followed or track.doubtful:
                track.landmarks, track.doubtful, track.followed = face.landmarks, face.doubtful, True
                faces[track.number] = face
        self._begin([found[index] for index in set(range(len(found))) - set(pairs.values())], faces)

    def _begin(self, found: Sequence[Face], faces: dict[int, Face]) -> None:
        """Begin tracks of new faces, the largest first, as long as there may be more; best score first."""
        free = len(found)
        if self.settings.max_faces is not None:
            free = max(0, self.settings.max_faces - sum(track.followed for track in self._tracks))
        for face in largest(found, free):
            smooth = None if self.settings.smoothing is None else OneEuroFilter(self.settings.smoothing)
            track = _Track(self._next, face.landmarks, face.score, face.doubtful, smooth, seen=0.0)
            if _can_be_followed(track.landmarks, None):
                self._next += 1
                self._tracks.append(track)
                faces[track.number] = face

    def _shown(self, track: _Track, face: Face, time: float) -> TrackedFace:
        track.seen = time
        landmarks = face.landmarks
        if track.smooth is not None:
            size = math.sqrt(float(area(landmark_box(landmarks))))
            landmarks = track.smooth(landmarks, time, size)
        pose = head_pose(landmarks)
        box = box_from_landmarks(landmarks)
        return TrackedFace(track.number, Face(box, track.score, landmarks, pose, face.confidence))

    def state(self) -> dict[str, Any]:
        """All that the tracker remembers between two frames, as JSON holds it; see `restore`."""
        tracks = [
            {
                "number": track.number,
                "landmarks": track.landmarks.tolist(),
                "score": track.score,
                "doubtful": track.doubtful,
                "smooth": None if track.smooth is None else track.smooth.state(),
                "seen": track.seen,
                "followed": track.followed,
            }
            for track in self._tracks
        ]
        return {"next": self._next, "since": self._since, "detections": self.detections, "tracks": tracks}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another tracker with the same settings gave this `state`."""
        self._next, self._since = int(state["next"]), int(state["since"])
        self.detections = int(state["detections"])
        self._tracks = []
        for values in state["tracks"]:
            smooth = None
            if self.settings.smoothing is not None and values["smooth"] is not None:
                smooth = OneEuroFilter.restored(self.settings.smoothing, values["smooth"])
            landmarks = np.array(values["landmarks"], dtype=np.float64)
            self._tracks.append(_Track(**{**values, "landmarks": landmarks, "smooth": smooth}))


def largest(faces: Sequence[Face], most: int | None) -> list[Face]:
    """The `most` largest of the faces by their boxes, in their order; all for None.

    >>> boxes = np.array([[0.0, 0, 10, 10], [0, 0, 30, 30], [0, 0, 20, 20]])
    >>> faces = [Face(box, None, np.zeros((68, 2)), None, confidence=1.0) for box in boxes]
    >>> [face.box[2] for face in largest(faces, 2)]
    [np.float64(30.0), np.float64(20.0)]
    """
    order = sorted(range(len(faces)), key=lambda index: -float(area(faces[index].box)))
    return [faces[index] for index in sorted(order[:most])]


def _can_be_followed(landmarks: FloatArray, image: Image | None) -> bool:
    """Whether landmarks (68, 2) span a box that a crop can be made of, with a part of it in the image."""
    if not (np.abs(landmarks) < FARTHEST / 4).all() or np.ptp(landmarks, axis=0).min() < SMALLEST:
        return False
    if image is None:
        return True
    frame = np.array([0.0, 0.0, image.shape[1] - 1.0, image.shape[0] - 1.0])
    return float(intersection(box_from_landmarks(landmarks), frame)) > 0
