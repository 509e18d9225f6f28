"""Images: pixels of the right shape, or refused by the name of the file."""

import io
import struct
import zlib

import numpy as np
from fuzz.hostile import WORDS, damaged, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aeflow_utils.article.page import _picture
from aeflow_utils.data.depth import depth_of
from aeflow_utils.data.images import read_image, read_mask

MODES = {
    "PNG": ("1", "L", "P", "LA", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "RGB", "I;16", "F", "CMYK"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "WEBP": ("RGB", "RGBA"),
}
FORMATS = st.sampled_from([(form, mode) for form, modes in MODES.items() for mode in modes])
GARBAGE = st.one_of(
    st.binary(max_size=64),
    WORDS.map(str.encode),
    st.sampled_from(
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*", b"BM", b"GIF89a"]
    ),
)


def stored(form, mode):
    """A small picture as a file of this kind, with an EXIF entry where it has one."""
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 200)
    elif mode == "F":
        image = Image.fromarray(pixels.astype(np.float32))
    else:
        image = Image.fromarray(pixels).convert("RGB" if mode == "RGBA" else "L").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}))
    return file.getvalue()


def png(width, height, bits=1, colour=0, content=b""):
    """A PNG whose header claims a size, whatever its content."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@given(st.data(), st.booleans(), st.sampled_from([0, 8, 12]))
def test_a_damaged_image(tmp_path, data, grey, resize):
    sound = stored(*data.draw(FORMATS))
    file = tmp_path / "image.png"
    file.write_bytes(data.draw(damaged(sound) | damaged(sound) | GARBAGE | st.just(sound)))
    with read_or_refused(file):
        white = depth_of([file])[1]
        pixels = read_image(file, 8, grey, resize, white)
        assert pixels.shape == (1 if grey else 3, 8, 8) and pixels.dtype == np.uint8
    with read_or_refused(file):
        mask = read_mask(file, 8, resize)
        assert mask.shape == (8, 8) and mask.dtype == bool


@given(
    st.sampled_from([1, 2, 17, 30_000, 60_000, 2**31 - 1]),
    st.sampled_from([1, 3, 40_000, 80_000, 2**31 - 1]),
    st.sampled_from([(1, 0), (8, 2), (16, 0), (8, 6)]),
    st.booleans(),
)
def test_an_image_of_a_size_that_nobody_has(tmp_path, width, height, kind, resized):
    file = tmp_path / "image.png"
    n_bytes = min(width * height * kind[0] // 8 + height, 1 << 20)
    file.write_bytes(png(width, height, *kind, bytes(n_bytes)))
    for reader in (read_image, read_mask):
        with read_or_refused(file):
            options = {"grey": False} if reader is read_image else {}
            assert reader(file, 224, resize=256 if resized else 0, **options).shape[-1] == 224
    with read_or_refused(file):
        depth_of([file])


@given(st.data())
def test_a_picture_in_the_article(data):
    sound = stored(*data.draw(FORMATS.filter(lambda kind: kind[0] in ("PNG", "JPEG"))))
    content = data.draw(damaged(sound) | GARBAGE)
    with read_or_refused("picture"):
        assert _picture(content, "image/png", "an alt text").count("<img") == 1
