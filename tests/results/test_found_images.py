"""Which files a command line names, and what their outputs are called."""

from pathlib import Path, PurePath

import pytest

from facealign.results.found_images import find_images, picture_names


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        "c.jpeg",
        "._b.jpg",
        "in/d.webp",
        "in/deeper/e.tif",
        "in/deeper/[1].png",
        "in/.hidden/f.jpg",
        "z/g.gif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(found, root):
    return [path.relative_to(root).as_posix() for path in found.files]


ALL = ["a.PNG", "b.jpg", "c.jpeg", "in/d.webp", "in/deeper/[1].png", "in/deeper/e.tif", "z/g.gif"]


def test_a_folder_stands_for_all_images_below_it_sorted(tree):
    found = find_images([tree])
    assert names(found, tree) == ALL
    assert [place.as_posix() for place in found.places] == ALL
    assert found.notes == []


def test_each_is_found_once_and_a_missing_one_is_kept(tree):
    found = find_images([tree / "in", tree / "b.jpg", tree / "gone.jpg", tree])
    expected = [*ALL[3:6], "b.jpg", "gone.jpg", "a.PNG", "c.jpeg", "z/g.gif"]
    assert names(found, tree) == expected
    assert found.places[0] == PurePath("d.webp")  # below the folder that was named


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jp*g", ["b.jpg", "c.jpeg"]),
        ("**/*.tif", ["in/deeper/e.tif"]),
        ("?.PNG", ["a.PNG"]),
        ("in/dee*", ["in/deeper/[1].png", "in/deeper/e.tif"]),
        ("in/deeper/[1].png", ["in/deeper/[1].png"]),  # a file for all that it looks like a pattern
        ("*", ALL),
    ],
)
def test_a_pattern_stands_for_what_it_matches(pattern, expected, tree):
    found = find_images([tree / pattern])
    assert sorted(names(found, tree)) == sorted(expected)
    assert found.notes == []  # of notes.txt neither: such files lie beside images


def test_what_holds_no_image_is_noted(tree):
    (tree / "none").mkdir()
    (tree / "in" / "x.xcf").write_bytes(b"")
    (tree / "in" / "y.xcf").write_bytes(b"")
    found = find_images([tree / "none", tree / "no*.bmp", tree / "in"])
    assert [note.split("; ")[0] for note in found.notes] == [
        f"{tree / 'none'}: no image in it",
        f"{tree / 'no*.bmp'}: nothing has such a name",
        f"{tree / 'in' / 'x.xcf'} and 1 more of this kind: not a format that is read",
    ]


def test_the_output_is_no_input_unless_it_is_named(tree):
    assert names(find_images([tree], tree / "in"), tree) == ["a.PNG", "b.jpg", "c.jpeg", "z/g.gif"]
    assert names(find_images([tree / "in"], tree / "in"), tree) == ALL[3:6]


def test_links_are_followed_but_not_in_a_circle(tree):
    (tree / "in" / "back").symlink_to(tree)
    (tree / "loop.png").symlink_to("loop.png")
    assert sorted(names(find_images([tree]), tree)) == sorted([*ALL, "loop.png"])


def test_picture_names_are_all_different():
    files = [
        Path(name) for name in ("a/x.jpg", "b/x.jpg", "c/b/x.jpg", "a/X.JPG", "a/x.png", "a/y.webp", "b/y")
    ]
    found = picture_names(files)
    assert found[:2] == ["x.jpg", "b_x.jpg"]
    assert len({name.lower() for name in found}) == len(files)
    assert found[5] == "y.webp.png"


def test_pictures_lie_as_their_images_do():
    places = [PurePath(name) for name in ("x.jpg", "in/x.jpg", "in/deeper/y.tif")]
    files = [Path("photos") / place for place in places]
    assert picture_names(files, places) == ["x.jpg", "in/x.jpg", "in/deeper/y.tif.png"]
    assert picture_names([*files, Path("other/in/x.jpg")], [*places, PurePath("in/x.jpg")])[3] == "in_x.jpg"


def test_no_name_is_a_folder_of_another_or_reserved():
    files = [Path("one/x.jpg"), Path("two/x.jpg/y.png"), Path("three/montage/z.png"), Path("four/montage")]
    places = [PurePath("x.jpg"), PurePath("x.jpg/y.png"), PurePath("montage/z.png"), PurePath("montage")]
    found = picture_names(files, places, reserved=["montage"])
    assert found == ["x.jpg", "x.jpg_y.png", "montage_z.png", "montage.png"]


def test_names_without_suffixes_differ_where_asked():
    files = [Path("a/x.jpg"), Path("a/x.png"), Path("a/y.png")]
    assert picture_names(files, by_stem=True) == ["x.jpg", "a_x.png", "y.png"]


def test_many_images_of_one_name_take_no_square_of_their_number():
    """In a folder each, all named alike."""
    files = [Path(f"{number}/x.jpg") for number in range(20_000)]
    assert len(set(picture_names(files))) == 20_000
