import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as TF

from lit_vision.data.decoding import list_images, read_image
from lit_vision.data.images import ResizedImages
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


def test_list_images_is_sorted_and_leaves_out_what_is_hidden_or_no_image(tmp_path):
    for name in ("b.PNG", "a b.jpg", "ü.gif", "sub/c.webp", ".hidden.png", ".cache/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)] == [
        "a b.jpg",
        "b.PNG",
        "sub/c.webp",
        "ü.gif",
    ]


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
