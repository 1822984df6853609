"""The libraries in the page are those that their authors published."""

import json
import shutil

import pytest

from facealign.report import libraries
from facealign.report.libraries import VENDOR, library


def test_a_changed_file_is_noticed(tmp_path, monkeypatch):
    shutil.copytree(VENDOR, tmp_path / "vendor")
    monkeypatch.setattr(libraries, "VENDOR", tmp_path / "vendor")
    assert library("uPlot").name == "uPlot"
    with (tmp_path / "vendor" / "uPlot.min.css").open("a") as file:
        file.write("/* mine */")
    with pytest.raises(ValueError, match=r"uPlot\.min\.css"):
        library("uPlot")


def test_the_files_are_of_the_version_and_licence_that_are_said():
    uplot = library("uPlot")
    assert f"(v{uplot.version})" in uplot.files["uPlot.iife.min.js"].splitlines()[0]
    assert f"The {uplot.licence} License" in uplot.files["uPlot.LICENSE"]


def test_nothing_in_them_ends_the_element_they_are_put_into():
    assert "</" not in json.dumps(list(library("uPlot").files.values()))
