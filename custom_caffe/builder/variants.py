"""What can be built: the same sources with other settings of CMake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """A way to build Caffe.

    name: part of the build directory's name.
    suffix: added to the version, so that wheels of different variants can lie side by side.
    settings: CMake's, beside those that every variant has.
    compiler_options: the C++ compiler's, beside those that every variant has.
    search: directories with headers and libraries that CMake should look into before the system's.
    facts: written into the wheel's build_info.json.
    requirements: what the wheel needs besides the dependencies in pyproject.toml.
    library_path: where the wheel's libraries look for others, relative to themselves, beside their own place.
    """

    name: str
    suffix: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    compiler_options: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    library_path: tuple[str, ...] = ()


CPU = Variant("cpu", settings={"CPU_ONLY": "ON"}, facts={"gpu": False})
