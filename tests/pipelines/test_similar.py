"""Near-identical pictures: which pictures count as the same, and which do not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipelines.data.inspect import inspect_image
from pipelines.data.manifest import look_at_images
from pipelines.data.sample import CLASSES, draw_image
from pipelines.data.similar import SIDE, similar_groups, thumbnail


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
    from pipelines.data.similar import MAX_DIFFERENT_BITS, MIN_CORRELATION, connected, numbered, perceptual_hashes

    random = np.random.default_rng(0)
    sources = np.repeat([np.frombuffer(thumbnail(photo(n), 1), np.uint8) for n in range(60)], 8, axis=0)
    noise = random.normal(size=sources.shape) * random.uniform(0, 40, (len(sources), 1))
    pictures = np.clip(sources + noise, 0, 255).astype(np.uint8)
    hashes = perceptual_hashes(pictures)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= MAX_DIFFERENT_BITS
    left, right = np.nonzero(near & (np.corrcoef(pictures) >= MIN_CORRELATION))
    expected = numbered(connected(np.arange(len(pictures)), left, right))
    found = similar_groups([picture.tobytes() for picture in pictures], [str(n) for n in range(len(pictures))])
    assert found.tolist() == expected.tolist()
    assert 0 < (found > 0).mean() < 1
    assert pictures.shape[1] == SIDE**2


def test_the_groups_of_the_shared_natural_photos(shared):
    table = look_at_images(shared / "natural30").images
    groups = table[table["similar"] > 0].groupby("similar")["path"].apply(list)
    assert len(groups) == 24
    assert ["llama/image_0001.jpg", "llama/image_0010.jpg"] in groups.tolist()
    assert (table[table["similar"] > 0].groupby("similar")["label"].nunique() == 1).all()
