"""What tests of networks share."""

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from lit_vision.data import ImageFolderDataModule
from lit_vision.data.batch import Batch
from lit_vision.models import SmallCNN, TransferClassifier

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
NAMES = ["a", "b", "c"]
SIZE = 48


def batches(sizes, seed=0, side=16):
    """A loader of random images that is not ours, in batches of these sizes."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(
        [
            Batch(
                torch.randn(n, 3, side, side, generator=generator),
                torch.randint(3, (n,), generator=generator),
                torch.arange(n),
            )
            for n in sizes
        ],
        batch_size=None,
    )


def small(**options):
    """A network for them."""
    return SmallCNN(class_names=NAMES, image_size=16, **options)


def picture_data(root, **options):
    return ImageFolderDataModule(root, batch_size=8, image_size=SIZE, seed=0, **options)


def transfer(seed=0, **options):
    torch.manual_seed(seed)
    return TransferClassifier(weights=None, class_names=["blue", "red"], image_size=SIZE, lr=0.05, **options)


def fit_transfer(root, model, epochs=3, **options):
    trainer = Trainer(max_epochs=epochs, **QUIET, enable_checkpointing=False, num_sanity_val_steps=0)
    trainer.fit(model, picture_data(root, **options))
    return {name: value.item() for name, value in trainer.callback_metrics.items()}
