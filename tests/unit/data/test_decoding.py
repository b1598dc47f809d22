import os
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as TF

from lit_vision.data.decoding import check_image, is_image, read_image
from lit_vision.data.images import ImageFiles, ResizedImages
from lit_vision.errors import UserError

GREEN = (0, 128, 0)


def left_red_right_blue(size=(40, 40)):
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tif", "ppm"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"an image ä.{suffix}"
    left_red_right_blue().save(path)
    image = read_image(path)
    assert image.shape == (3, 40, 40)
    assert image.dtype == torch.uint8
    assert image[:, 20, 5].tolist() == pytest.approx([255, 0, 0], abs=12)
    assert image[:, 20, 35].tolist() == pytest.approx([0, 0, 255], abs=12)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("1", "png"), ("P", "gif")],
)
def test_colour_modes_become_rgb(tmp_path, mode, suffix):
    source = Image.new("RGB", (8, 8), (255, 255, 255) if mode == "1" else GREEN)
    source.convert(mode).save(tmp_path / f"x.{suffix}")
    expected = source.convert(mode).convert("RGB").getpixel((4, 4))
    assert read_image(tmp_path / f"x.{suffix}")[:, 4, 4].tolist() == pytest.approx(expected, abs=3)


def test_transparent_palette(tmp_path):
    Image.new("P", (4, 4), 1).save(tmp_path / "x.png", transparency=bytes([0, 128]))
    assert read_image(tmp_path / "x.png").shape == (3, 4, 4)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_not_clipped(tmp_path, suffix):
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    assert read_image(tmp_path / f"x.{suffix}")[0].tolist() == [[0, 100], [200, 255]]
    assert read_image(tmp_path / f"x.{suffix}")[2].tolist() == [[0, 100], [200, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[0, 100, 255]], np.uint16), [0, 100, 255]),  # 8 bits in 16
        (np.array([[0, 2048, 4095]], np.uint16), [0, 128, 255]),  # 12 bits in 16
        (np.array([[0, 257 * 9, 65535]], ">u2"), [0, 9, 255]),
    ],
)
def test_deep_grey_is_scaled_by_what_it_holds(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "x.tif")
    image = read_image(tmp_path / "x.tif")
    assert image[:, 0].tolist() == [expected] * 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[-1.0, 1.0]], np.float32), "from -1 to 1"),
        (np.array([[0.0, 3000.0]], np.float32), "from 0 to 3000"),
        (np.array([[0.0, np.nan]], np.float32), "nan"),
        (np.array([[0.0, np.inf]], np.float32), "inf"),
        (np.array([[-5, 200]], np.int32), "from -5 to 200"),
        (np.array([[0, 70_000]], np.int32), "from 0 to 70,000"),
    ],
)
def test_values_without_a_known_range_are_refused_by_what_they_are(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=rf"x\.tif \(it holds .*{message}"):
        read_image(tmp_path / "x.tif")


def drawing(mode):
    """A black bar on a transparent ground, in a mode with alpha."""
    image = Image.new("LA", (8, 8), (0, 0))
    image.paste((0, 255), (2, 0, 4, 8))
    return image if mode == "LA" else image.convert("RGBA")


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("RGBA", "webp"), ("RGBA", "tif")])
def test_what_is_transparent_is_white(tmp_path, mode, suffix):
    drawing(mode).save(tmp_path / f"x.{suffix}", lossless=True)
    image = read_image(tmp_path / f"x.{suffix}")
    assert image[:, 4].tolist() == [[255, 255, 0, 0, 255, 255, 255, 255]] * 3


@pytest.mark.parametrize(
    ("mode", "colour", "transparency", "expected"),
    [
        ("P", 3, 3, 255),
        ("P", 1, bytes([255, 0]), 255),
        ("L", 7, 7, 255),
        ("L", 8, 7, 8),
        ("RGB", (1, 2, 3), (1, 2, 3), 255),
        ("1", 0, 0, 255),
        ("I;16", 300, 300, 255),
    ],
)
def test_a_transparent_colour_is_white(tmp_path, mode, colour, transparency, expected):
    image = Image.new(mode, (4, 4), colour)
    if mode == "P":
        image.putpalette([value for value in range(256) for _ in range(3)])
    image.save(tmp_path / "x.png", transparency=transparency)
    assert read_image(tmp_path / "x.png")[:, 2, 2].tolist() == [expected] * 3


def test_half_transparent_is_half_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[:, 2, 2].tolist() == pytest.approx([255, 127, 127], abs=1)


def test_an_alpha_channel_that_is_not_used_is_ignored(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "x.tga")
    assert read_image(tmp_path / "x.tga")[:, 2, 2].tolist() == [255, 0, 0]


def exif_block(orientation=6, resolution_unit=7, entries=2):
    """EXIF with an orientation and a ResolutionUnit whose type is UNDEFINED, which cannot be written again."""
    tags = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack("<HHI4s", 0x0128, resolution_unit, 1, b"x")
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, entries) + tags + struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("exif", "is_turned"),
    [
        (exif_block(), True),
        (exif_block(orientation=0), False),
        (exif_block(orientation=99), False),
        (exif_block(entries=9000), True),
        (b"Exif\0\0II*\0", False),
        (b"Exif\0\0nonsense", False),
    ],
)
def test_odd_exif_costs_no_image(tmp_path, exif, is_turned):
    left_red_right_blue((40, 20)).save(tmp_path / "x.jpg", exif=exif, quality=95)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about the EXIF
        image = read_image(tmp_path / "x.jpg")
        assert check_image(tmp_path / "x.jpg") == tuple(image.shape[1:])
    assert image.shape == ((3, 40, 20) if is_turned else (3, 20, 40))
    assert image[0, 5, 10] > 200


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright(tmp_path, suffix, orientation):
    corner = Image.new("RGB", (32, 16), "blue")
    corner.paste((255, 0, 0), (0, 0, 16, 8))
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    method = [None, None, *(Image.Transpose[name] for name in (
        "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"
    ))][back]  # fmt: skip
    stored = corner if method is None else corner.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"x.{suffix}", exif=exif, quality=95, lossless=True)
    image = read_image(tmp_path / f"x.{suffix}")
    assert image.shape == (3, 16, 32)
    assert (image[0, 4, 8] > 200, image[0, 4, 24] > 200, image[0, 12, 8] > 200) == (True, False, False)


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    left_red_right_blue((40, 20)).save(tmp_path / "x.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "x.jpg")
    assert image.shape == (3, 40, 20)
    assert image[0, 5, 10] > 200  # what was left is now on top
    assert image[2, 35, 10] > 200


def test_resize_is_exactly_square_and_antialiased(tmp_path):
    stripes = np.zeros((64, 128, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png", 16)
    assert image.shape == (3, 16, 16)
    assert image.float().std() < 3  # without antialiasing it keeps stripes of 0 and 255


@pytest.mark.parametrize("content", [b"", b"no image at all", None])
def test_unreadable_images_are_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    if content is None:
        left_red_right_blue().save(path)
        content = path.read_bytes()[:400]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.jpg"):
        read_image(path)


def test_an_image_bomb_is_refused_by_name(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = 50_000
    pixels = zlib.compress(bytes(20_000))  # the beginning of what would be 7.5 GB
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    assert path.stat().st_size < 5000
    with pytest.raises(UserError, match=r"bomb\.png.*exceeds limit"):
        read_image(path)


def test_crop_is_torchvisions_resize_and_centre_crop(tmp_path):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 9, generator=generator), (240, 360), mode="bicubic")
    pixels = (smooth.clamp(0, 1) * 255).to(torch.uint8)[0]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "x.png")
    expected = TF.center_crop(TF.resize(pixels, [128], antialias=True), [112])
    cropped = read_image(tmp_path / "x.png", 112, "center_crop")
    assert cropped.shape == (3, 112, 112)
    assert (cropped.int() - expected.int()).abs().max() <= 2
    whole = read_image(tmp_path / "x.png", 112)
    assert (whole.int() - expected.int()).abs().max() > 20
    in_memory = ResizedImages(pixels[None, :, :, 60:300], 112, "center_crop")[0]
    assert (in_memory.int() - expected.int()).abs().max() <= 2


def test_crop_of_a_given_size_is_torchvisions(tmp_path):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 9, generator=generator), (240, 360), mode="bicubic")
    pixels = (smooth.clamp(0, 1) * 255).to(torch.uint8)[0]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "x.png")
    in_memory = ResizedImages(pixels[None, :, :, 60:300], 112, 116)
    files = ImageFiles([tmp_path / "x.png"], 112, 116)
    for side, uncropped in ((112, 116), (224, 232)):
        expected = TF.center_crop(TF.resize(pixels, [uncropped], antialias=True), [side])
        for images in (files, in_memory):
            assert (images.of_size(side)[0].int() - expected.int()).abs().max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16_320, 12_240), (12_000, 9_000)])
def test_very_large_photos_are_read_at_a_reduced_scale(tmp_path, size):
    photo = Image.new("L", size, 255)
    photo.paste(0, (0, 0, size[0] // 2, size[1]))
    photo.save(tmp_path / "x.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(tmp_path / "x.jpg", 64)
    assert image.shape == (3, 64, 64)
    assert image[0, 32, 16] < 5
    assert image[0, 32, 48] > 250


def announced(path, width, height):
    """A JPEG whose header announces another size than it has."""
    Image.new("L", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", height, width)
    path.write_bytes(content)


@pytest.mark.parametrize("size", [(65_000, 65_000), (40_000, 40_000)])
def test_jpeg_bombs_are_refused_at_once(tmp_path, size):
    announced(tmp_path / "x.jpg", *size)
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"x\.jpg .*pixels"):
        read_image(tmp_path / "x.jpg", 64)
    assert time.perf_counter() - start < 1


def test_a_large_jpeg_without_a_size_to_resize_to_is_refused(tmp_path):
    announced(tmp_path / "x.jpg", 20_000, 20_000)
    with pytest.raises(UserError, match=r"20,000 x 20,000 pixels"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to nothing", "link to itself"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if kind.endswith("itself") else "nothing")
    with pytest.raises(UserError, match=r"x\.png"):
        read_image(path)


@pytest.mark.parametrize(
    "name", ["a.jfif", "a.JPG", "a.pnm", "a.avif", "a.webp", "a.ico", "a.jp2", "a.tga", "a.qoi", "a.mpo", "a.b.png"]
)
def test_kinds_that_pillow_reads_are_images(name):
    assert is_image(name)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "model.h5", "a.pdf", "a.mpg", "a.eps", "a.wmf", "a.json", "png"])
def test_other_kinds_are_not(name):
    assert not is_image(name)


def test_a_file_without_a_suffix_is_an_image_by_its_content(tmp_path):
    left_red_right_blue().save(tmp_path / "photo", "JPEG")
    (tmp_path / "README").write_text("text")
    assert is_image(str(tmp_path / "photo"))
    assert not is_image(str(tmp_path / "README"))
    assert read_image(tmp_path / "photo").shape == (3, 40, 40)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_check_finds_a_truncated_file(tmp_path, suffix):
    Image.effect_noise((200, 100), 90).convert("RGB").save(tmp_path / f"x.{suffix}")
    assert check_image(tmp_path / f"x.{suffix}") == (100, 200)
    content = (tmp_path / f"x.{suffix}").read_bytes()
    (tmp_path / f"x.{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="truncated"):
        check_image(tmp_path / f"x.{suffix}")
