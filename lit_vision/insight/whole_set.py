"""All images of a data module, in all splits, with what was seen of them and the features of a network."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_vision.data.batch import LabelledImages
from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.decode_ahead import decode_each
from lit_vision.data.decoding import read_image
from lit_vision.data.image_names import files_of, image_names
from lit_vision.data.images import ImageFiles, LazyImages, ResizedImages
from lit_vision.data.transforms import Normalization, to_float
from lit_vision.insight.findings import Item
from lit_vision.insight.scan import look_at_all
from lit_vision.models.folding import fold_for_inference
from lit_vision.models.known_features import find_features
from lit_vision.models.modules import InputSpec
from lit_vision.utils.bars import progress_bar

_BATCH_SIZE = 16


class _Part(NamedTuple):
    split: str
    origin: str  # the split of the data set that the images are from
    images: LabelledImages


class WholeSet:
    """All images of a data module.

    Args:
        data: the data module; its ``prepare_data`` was called.

    Raises:
        UserError: the data is missing.
    """

    def __init__(self, data: ImageDataModule) -> None:
        self.data = data
        self._parts = list(_parts(data))

    def items(self) -> list[Item]:
        """Look at each image."""
        found = []
        for split, origin, images in self._parts:
            names = image_names(images, self.data.root, origin)
            looks = look_at_all(images, self.data.num_workers, split)
            labels = images.labels.tolist()
            found += [Item(name, split, label, look) for name, label, look in zip(names, labels, looks, strict=True)]
        return found

    def picture(self, position: int) -> Tensor:
        """The image at a position among all, (3, H, W) uint8, as large as it is."""
        for _, _, images in self._parts:
            if position < len(images.labels):
                files = files_of(images.images)
                return images.images[position] if files is None else read_image(files[position])
            position -= len(images.labels)
        raise IndexError

    def features(self, backbone: nn.Module, positions: Sequence[int], device: torch.device) -> Tensor:
        """Features of images that can be read, found in the disk cache or computed, (n, width) float32.

        Args:
            backbone: a network in eval mode, (N, 3, H, W) -> (N, width).
            positions: positions of the images among all, in ascending order.
            device: the device to compute on.
        """
        network = fold_for_inference(backbone).to(device)
        normalize = Normalization(self.data.mean, self.data.std)
        rows: list[Tensor] = []
        start = 0
        with progress_bar("computing features", len(positions)) as bar, torch.no_grad():
            for _, _, images in self._parts:
                count = len(images.labels)
                own = [position - start for position in positions if start <= position < start + count]
                start += count
                chosen = self._of_size(images).subset(torch.tensor(own, dtype=torch.int64))
                known = self._known(backbone, chosen, device)
                missing = torch.tensor([number for number in range(len(own)) if number not in known], dtype=torch.int64)
                decoded = decode_each(chosen.subset(missing), self.data.num_workers)
                found = dict(known)
                bar.update(len(known))
                for part in missing.split(_BATCH_SIZE):
                    batch = torch.stack([next(decoded) for _ in part]).to(device)
                    computed = network(normalize(to_float(batch)).to(memory_format=torch.channels_last))
                    found |= zip(part.tolist(), computed.float().cpu(), strict=True)
                    bar.update(len(part))
                rows += [found[number] for number in range(len(own))]
        return torch.stack(rows)

    def _of_size(self, images: LabelledImages) -> LazyImages:
        size, resize = self.data.image_size, self.data.resize
        files = files_of(images.images)
        if files is not None:
            return ImageFiles(files, size, resize, self.data.decoding)
        if isinstance(images.images, Tensor):
            return ResizedImages(images.images, size, resize)
        return images.images.of_size(size)

    def _known(self, backbone: nn.Module, images: LazyImages, device: torch.device) -> dict[int, Tensor]:
        if not isinstance(images, ImageFiles) or not len(images):
            return {}
        spec = InputSpec(self.data.image_size, self.data.mean, self.data.std, self.data.resize)
        return find_features(backbone, images, spec, device)


def _parts(data: ImageDataModule) -> Iterator[_Part]:
    for split in data.split_names:
        images = data.used(split)
        if split == "train" and data.hold_out.size:
            divided = data.hold_out.divide(images, data.class_names)
            yield from (_Part(side, split, part) for side, part in divided.items())
        else:
            yield _Part(split, split, images)
