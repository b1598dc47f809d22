import pytest
import torch
from PIL import Image


@pytest.fixture
def pictures(tmp_path):
    """Noise with a red or a blue tint, so that even random features tell the classes apart."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 12), ("val", 7)):
        for name, channel in (("blue", 2), ("red", 0)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(0, 128, (60, 50, 3), generator=generator, dtype=torch.uint8)
                pixels[..., channel] += 127
                Image.fromarray(pixels.numpy()).save(tmp_path / split / name / f"{number}.png")
    return tmp_path
