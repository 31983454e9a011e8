"""Near-identical pictures: which pictures count as the same, and which do not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipelines.data import common_part, similar
from pipelines.data.inspect import inspect_image
from pipelines.data.manifest import look_at_images, make_manifest
from pipelines.data.sample import CLASSES, draw_image
from pipelines.data.similar import (
    MAX_DIFFERENT_BITS,
    MIN_CORRELATION,
    SIDE,
    connected,
    numbered,
    perceptual_hashes,
    similar_groups,
    thumbnail,
)


def photo(number, size=240):
    """Returns a drawing with the large shapes and the grain of a photo."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3)).astype(np.uint8))
    grain = random.normal(0, 6, (size, size, 3))
    return Image.fromarray(
        np.clip(np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) + grain, 0, 255).astype(np.uint8)
    )


def groups_of(tmp_path, files):
    """Writes files from bytes or pictures, inspects them, and returns the numbers of their groups."""
    facts = []
    for name, content in files.items():
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)
        facts.append(inspect_image(path, tmp_path))
    assert all(fact.readable for fact in facts)
    return similar_groups([fact.thumbnail for fact in facts], [fact.sha256 for fact in facts]).tolist()


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def test_other_encodings_sizes_and_light_are_the_same_picture(tmp_path):
    original, other = photo(0), photo(1)
    files = {
        "a.jpg": encoded(original, "JPEG", quality=95),
        "bad.jpg": encoded(original, "JPEG", quality=15),
        "small.jpg": original.resize((60, 60)),
        "large.jpg": original.resize((960, 960)),
        "a.png": original,
        "gray.png": original.convert("L"),
        "bright.jpg": ImageEnhance.Brightness(original).enhance(1.2),
        "wide.jpg": original.resize((300, 240)),
        "other.jpg": other,
    }
    assert groups_of(tmp_path, files) == [1] * 8 + [0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_file_is_compared_upright(orientation, tmp_path):
    from PIL import ImageOps

    picture = photo(2).crop((0, 0, 240, 180))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encoded(picture, "JPEG", exif=exif)
    with Image.open(io.BytesIO(turned)) as stored:
        upright = ImageOps.exif_transpose(stored)
    assert groups_of(tmp_path, {"turned.jpg": turned, "upright.png": upright}) == [1, 1]


def test_the_thumbnail_of_a_jpeg_hardly_depends_on_the_scale_it_is_decoded_at(tmp_path):
    for size in (70, 240, 1000):
        picture = photo(3, size)
        picture.save(tmp_path / "a.jpg", quality=95)
        drafted = inspect_image(tmp_path / "a.jpg", tmp_path).thumbnail
        difference = np.frombuffer(drafted, np.uint8).astype(int) - np.frombuffer(thumbnail(picture, 1), np.uint8)
        assert np.abs(difference).mean() < 2


def test_transparency_is_seen_over_white_and_sixteen_bits_as_eight(tmp_path):
    gray = np.asarray(photo(4).convert("L"))
    alpha = Image.merge("LA", [Image.new("L", (240, 240), 0), Image.fromarray(255 - gray)])
    sixteen = Image.fromarray(gray.astype(np.uint16) * 257)
    files = {"8.png": Image.fromarray(gray), "16.png": sixteen, "alpha.png": alpha}
    assert groups_of(tmp_path, files) == [1, 1, 1]


def test_flat_pictures_are_the_same_only_byte_for_byte(tmp_path):
    """Two different skies, or two walls, have nothing in common but a faint gradient."""
    gradient = np.tile(np.linspace(120, 126, 64), (64, 1))
    sky, wall = (Image.fromarray((gradient + light).astype(np.uint8)) for light in (0, 60))
    files = {"sky.png": sky, "wall.png": wall, "copy.png": sky, "photo.png": photo(5)}
    assert groups_of(tmp_path, files) == [1, 0, 1, 0]


def test_groups_are_numbered_in_the_order_of_their_first_pictures():
    pictures = [thumbnail(photo(number), 1) for number in (6, 7, 8, 7, 6)]
    assert similar_groups(pictures, list("abcde")).tolist() == [1, 2, 0, 2, 1]
    assert similar_groups([], []).tolist() == []


def test_the_drawn_sample_has_no_near_identical_pictures():
    pictures = [
        thumbnail(draw_image(name, 96, np.random.default_rng([number, copy])), 1)
        for number, name in enumerate(CLASSES)
        for copy in range(8)
    ]
    assert not similar_groups(pictures, [str(number) for number in range(len(pictures))]).any()


def test_the_grouping_finds_what_comparing_all_pairs_finds():
    """The pictures are smooth noise with growing changes, so that some pairs are within the limits and some outside."""
    random = np.random.default_rng(0)
    sources = np.repeat([np.frombuffer(thumbnail(photo(n), 1), np.uint8) for n in range(60)], 8, axis=0)
    noise = random.normal(size=sources.shape) * random.uniform(0, 40, (len(sources), 1))
    pictures = np.clip(sources + noise, 0, 255).astype(np.uint8)
    coarse = pictures[:, : SIDE**2]
    hashes = perceptual_hashes(coarse)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= MAX_DIFFERENT_BITS
    left, right = np.nonzero(np.triu(near & (np.corrcoef(coarse) >= MIN_CORRELATION), 1))
    found = similar_groups([picture.tobytes() for picture in pictures], [f"{n:03}" for n in range(len(pictures))])
    chained = connected(np.arange(len(pictures)), left, right)
    assert all(len(set(chained[found == number])) == 1 for number in range(1, found.max() + 1))
    alone = found == 0
    assert not (alone[left] & alone[right]).any()
    assert 0 < (found > 0).mean() < 1


def scene(random, mark=None, size=128):
    """Returns a shot of the one scene that a fixed camera sees, with its noise, and perhaps a dark mark in it."""
    still = np.random.default_rng(99).integers(60, 200, (6, 6)).astype(np.uint8)
    shot = np.asarray(Image.fromarray(still).resize((size, size), Image.Resampling.BICUBIC)).astype(float)
    if mark is not None:
        row, column = mark
        shot[row : row + 10, column : column + 10] -= 50
    return Image.fromarray(np.clip(shot + random.normal(0, 4, shot.shape), 0, 255).astype(np.uint8))


def shots(count, seed):
    """Returns shots of one fixed camera, each second one with a mark at a random place."""
    random = np.random.default_rng(seed)
    return [scene(random, random.integers(0, 118, 2) if number % 2 else None) for number in range(count)]


def test_shots_of_a_fixed_camera_are_compared_by_what_differs():
    pictures = shots(120, 0)
    found = similar_groups([thumbnail(picture, 1) for picture in pictures], [f"{n:03}" for n in range(120)])
    assert np.bincount(found)[1:].max(initial=0) <= 3
    assert (found > 0).mean() < 0.2


def test_copies_of_a_fixed_camera_s_shots_are_found(tmp_path):
    pictures = shots(80, 1)
    files = {f"{number}.png": picture for number, picture in enumerate(pictures)}
    for number in (1, 3, 5):
        files[f"{number} again.jpg"] = encoded(pictures[number], "JPEG", quality=80)
        files[f"{number} brighter.png"] = ImageEnhance.Brightness(pictures[number]).enhance(1.1)
    found = dict(zip(files, groups_of(tmp_path, files), strict=True))
    for number in (1, 3, 5):
        assert found[f"{number}.png"] == found[f"{number} again.jpg"] == found[f"{number} brighter.png"] > 0


def test_a_chain_of_changes_does_not_lead_to_a_stranger():
    first, last = (np.asarray(photo(number).convert("L")).astype(float) for number in (0, 1))
    steps = [Image.fromarray((first + (last - first) * share).astype(np.uint8)) for share in np.linspace(0, 1, 20)]
    found = similar_groups([thumbnail(step, 1) for step in steps], [f"{n:02}" for n in range(20)])
    assert found[0] == found[1] > 0
    assert found[0] != found[-1]
    assert found.max() > 2


def test_groups_do_not_depend_on_the_order_of_the_files():
    pictures = [thumbnail(picture, 1) for picture in shots(60, 2)]
    pictures += [thumbnail(photo(number), 1) for number in (0, 0, 1, 2)]
    names = [f"{n:02}" for n in range(64)]
    order = np.random.default_rng(0).permutation(64)
    found = similar_groups(pictures, names)
    again = similar_groups([pictures[n] for n in order], [names[n] for n in order])
    assert numbered(again[np.argsort(order)] + 64 * (again[np.argsort(order)] == 0) * np.arange(1, 65)).tolist() == (
        found.tolist()
    )


def test_a_crowd_too_large_for_all_pairs_is_divided_as_well(monkeypatch):
    monkeypatch.setattr(similar, "_MANY", 20)
    monkeypatch.setattr(common_part, "_ALL_PAIRS", 20)
    pictures = [thumbnail(picture, 1) for picture in shots(100, 3)]
    changed = np.frombuffer(pictures[7], np.uint8) // 2 * 2  # the same shot with fewer levels
    found = similar_groups([*pictures, changed.tobytes()], [f"{n:03}" for n in range(101)])
    assert found[7] == found[100] > 0
    assert np.bincount(found)[1:].max() <= 3


def test_the_groups_of_the_shared_natural_photos(shared):
    table = look_at_images(shared / "natural30").images
    groups = table[table["similar"] > 0].groupby("similar")["path"].apply(list)
    assert len(groups) == 24
    assert ["llama/image_0001.jpg", "llama/image_0010.jpg"] in groups.tolist()
    assert (table[table["similar"] > 0].groupby("similar")["label"].nunique() == 1).all()


def test_the_shared_tiles_of_one_camera_can_be_divided(shared):
    manifest = make_manifest(shared / "tiles6", 0.15, 0.15, 0)
    assert (manifest.groupby(["label", "split"]).size().unstack() > 0).all(axis=None)
    assert manifest.loc[manifest["similar"] > 0, "similar"].value_counts().max() < 30


def test_two_classes_of_shots_from_one_camera_can_be_divided(tmp_path):
    random = np.random.default_rng(4)
    for label in ("marked", "plain"):
        (tmp_path / label).mkdir()
        for number in range(100):
            shot = scene(random, random.integers(0, 118, 2) if label == "marked" else None)
            shot.save(tmp_path / label / f"{number:03}.jpg", quality=92)
    counts = make_manifest(tmp_path, 0.15, 0.15, 0).groupby(["label", "split"]).size().unstack()
    assert (counts["train"] > 60).all()
    assert (counts[["val", "test"]] > 10).all(axis=None)
