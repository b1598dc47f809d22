import io

import numpy as np
import pytest
import torch
from PIL import Image

from lit_vision.data.decoding import read_image
from lit_vision.data.jpeg import decode_plain, plain_header

PIXELS = np.random.default_rng(0).integers(0, 255, (21, 34, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS).resize((340, 210), Image.Resampling.BICUBIC)


def jpeg(image=PHOTO, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}, {"optimize": True}]
)
def test_plain_files_are_decoded_as_by_pillow(mode, options):
    content = jpeg(PHOTO.convert(mode), **options)
    assert plain_header(content) == (210, 340)
    pillow = torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(decode_plain(content), pillow)


def test_others_are_left_to_pillow(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert plain_header(jpeg(exif=exif)) is None
    assert plain_header(jpeg(PHOTO.convert("CMYK"))) is None
    file = io.BytesIO()
    PHOTO.save(file, "PNG")
    assert plain_header(file.getvalue()) is None
    content = jpeg()
    assert [plain_header(content[:length]) for length in range(100)] == [None] * 100
    (tmp_path / "x.jpg").write_bytes(jpeg(exif=exif))
    assert read_image(tmp_path / "x.jpg").shape == (3, 340, 210)


def test_a_damaged_file_is_left_to_pillow():
    assert decode_plain(jpeg()[:-200]) is None


def test_large_photos_are_decoded_at_a_reduced_scale_that_looks_the_same(tmp_path):
    PHOTO.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "x.jpg", quality=90)
    for resize in ("stretch", "center_crop", 130):
        reduced, full = (read_image(tmp_path / "x.jpg", 112, resize, how).int() for how in ("reduced", "full"))
        difference = (reduced - full).abs().float().mean()
        assert 0 < difference < 1
    same = [read_image(tmp_path / "x.jpg", 448, "stretch", how) for how in ("reduced", "full")]
    assert torch.equal(*same)  # less than four times as large as needed
