"""Shapes of the answers, for the API's description."""

from pydantic import BaseModel, Field


class PoseAngles(BaseModel):
    """Degrees."""

    yaw: float = Field(description="positive when the face turns to the image's right")
    pitch: float = Field(description="positive when it looks up")
    roll: float = Field(description="positive when it leans clockwise")


class AlignedFace(BaseModel):
    """A face; coordinates are 0-based pixels of the photo as a viewer shows it."""

    box: list[float] = Field(min_length=4, max_length=4, description="x1, y1, x2, y2")
    score: float | None = Field(description="the detector's, 0 to 1")
    confidence: float = Field(description="probability that the landmarks are right, 0 to 1")
    doubtful: bool = Field(description="confidence below 0.5")
    landmarks: list[list[float]] = Field(min_length=68, max_length=68, description="x, y each")
    pose: PoseAngles | None


class AlignedPhoto(BaseModel):
    """The faces of a photo, best score first."""

    file: str = Field(description="name of the form's file, or empty")
    width: int
    height: int
    faces: list[AlignedFace]


class Problem(BaseModel):
    """Why a request was refused."""

    status: int = Field(description="the HTTP status")
    code: str = Field(description="a word for programs, such as too_many_pixels")
    error: str = Field(description="what is wrong")
    remedy: str = Field(description="what to do")


class ServedLimits(BaseModel):
    """Limits of this server."""

    max_bytes: int
    max_pixels: int
    max_requests: int
    max_client_requests: int
    seconds: float


class Health(BaseModel):
    """State of the server."""

    status: str
    version: str
    workers: int = Field(description="worker processes")
    requests: int = Field(description="photos under way")
    limits: ServedLimits
