import pytest
import torch

from lit_vision.data.batch import LabelledImages
from lit_vision.data.fingerprint import TrainingFingerprints, checksums_of, difference, fingerprint

IMAGES = torch.arange(4 * 12, dtype=torch.uint8).reshape(4, 3, 2, 2)
LABELS = torch.tensor([0, 1, 0, 1])
IDS = torch.tensor([7, 8, 9, 10])


def split(images=IMAGES, labels=LABELS, ids=IDS):
    return LabelledImages(images, labels, ids)


def of(images, decoded_as):
    return fingerprint(images, decoded_as, checksums_of(images))


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
    assert difference(of(split(), "a"), of(other, decoded_as)) == words
    known = TrainingFingerprints()
    known.load_state_dict({"fingerprint": of(split(), "a")})
    known.take("train", other, decoded_as)
    known.load_state_dict({"fingerprint": of(split(), "a")})
    assert [record.message for record in caplog.records] == (
        [f"the training images are not those of the checkpoint: {words}"] if words else []
    )


def test_a_checkpoint_without_one_says_nothing(caplog):
    known = TrainingFingerprints()
    known.load_state_dict({})
    known.take("train", split(), "a")
    assert not caplog.records


@pytest.mark.parametrize("order", ["test last", "checkpoint last"])
@pytest.mark.parametrize(("same", "decoded_as", "told"), [(3, "a", True), (0, "a", False), (3, "b", False)])
def test_images_that_were_trained_on_are_named_in_another_split(caplog, order, same, decoded_as, told):
    trained = TrainingFingerprints()
    trained.take("train", split(), "a")
    tested = TrainingFingerprints()
    measured = split(torch.cat([IMAGES[:same], IMAGES[: 4 - same] + 100]), ids=IDS + 50)
    steps = [lambda: tested.load_state_dict(trained.state_dict()), lambda: tested.take("test", measured, decoded_as)]
    for step in steps if order == "test last" else reversed(steps):
        step()
    expected = ["test: 3 of 4 images are among those that the network is trained on"] if told else []
    assert [record.message for record in caplog.records] == expected


def test_a_sample_of_a_large_set_tells_what_was_trained_on(caplog, monkeypatch):
    monkeypatch.setattr("lit_vision.data.fingerprint._SAMPLE", 50)
    images = torch.randint(256, (400, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    many = split(images, torch.zeros(400, dtype=torch.int64), torch.arange(400))
    known = TrainingFingerprints()
    known.take("train", many, "a")
    assert len(known.state_dict()["seen"][0][1]) == 50
    known.take("test", many, "a")
    assert [record.message for record in caplog.records] == [
        "test: 50 of 50 images that a sample can tell are among those that the network is trained on"
    ]


def test_what_was_trained_on_is_remembered_by_the_runs_that_go_on():
    first, second, third = TrainingFingerprints(), TrainingFingerprints(), TrainingFingerprints()
    first.take("train", split(), "a")
    second.load_state_dict(first.state_dict())
    second.take("train", split(IMAGES + 1), "a")
    third.load_state_dict(second.state_dict())
    assert third.state_dict()["seen"] == second.state_dict()["seen"]
    assert len(third.state_dict()["seen"]) == 2


def test_images_that_were_validated_on_are_known_in_part():
    fit = TrainingFingerprints()
    fit.take("train", split(IMAGES + 100, ids=IDS + 100), "a")
    fit.take("val", split(), "a")
    for images, expected in (
        (split(), True),
        (split(IMAGES[1:], LABELS[1:], IDS[1:]), True),
        (split(IMAGES + 50, ids=IDS + 50), False),
    ):
        test = TrainingFingerprints()
        test.load_state_dict(fit.state_dict())
        test.take("test", images, "a")
        assert test.were_validated_on("test") is expected
        assert not test.were_trained_on("test")
    test = TrainingFingerprints()
    test.load_state_dict(fit.state_dict())
    test.take("test", split(IMAGES + 100, ids=IDS), "a")
    assert test.were_trained_on("test")
    assert TrainingFingerprints().were_validated_on("test") is None


@pytest.mark.parametrize("sample", [["a", ["x"], True], ["a"], [1, 2, 3, 4]])
def test_a_sample_that_is_none_is_refused(sample):
    with pytest.raises(TypeError):
        TrainingFingerprints().load_state_dict({"validated_sample": sample})
