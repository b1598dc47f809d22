import pytest
import torch

from lit_vision.data.batch import LabelledImages
from lit_vision.data.fingerprint import TrainingFingerprints, difference, fingerprint

IMAGES = torch.arange(4 * 12, dtype=torch.uint8).reshape(4, 3, 2, 2)
LABELS = torch.tensor([0, 1, 0, 1])
IDS = torch.tensor([7, 8, 9, 10])


def split(images=IMAGES, labels=LABELS, ids=IDS):
    return LabelledImages(images, labels, ids)


@pytest.mark.parametrize(
    ("other", "decoded_as", "words"),
    [
        (split(), "a", None),
        (split(IMAGES[:3], LABELS[:3], IDS[:3]), "a", "3 instead of 4"),
        (split(ids=IDS + 1), "a", "other names"),
        (split(labels=1 - LABELS), "a", "other labels"),
        (split(images=IMAGES + 1), "a", "other content"),
        (split(images=IMAGES + 1), "b", None),  # they were resized in another way
    ],
)
def test_it_says_what_differs(caplog, other, decoded_as, words):
    assert difference(fingerprint(split(), "a"), fingerprint(other, decoded_as)) == words
    known = TrainingFingerprints()
    known.load(fingerprint(split(), "a"))
    known.take(other, decoded_as)
    known.load(fingerprint(split(), "a"))
    assert [record.message for record in caplog.records] == (
        [f"the training images are not those of the checkpoint: {words}"] if words else []
    )


def test_a_checkpoint_without_one_says_nothing(caplog):
    known = TrainingFingerprints()
    known.load(None)
    known.take(split(), "a")
    assert not caplog.records
