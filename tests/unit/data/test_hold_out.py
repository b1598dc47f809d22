import pytest
import torch

from lit_vision.data.batch import LabelledImages
from lit_vision.data.hold_out import HoldOut, proportional
from lit_vision.errors import UserError


def images(*counts):
    """Images of as many classes as there are counts; each image is its own id."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return LabelledImages(torch.arange(len(labels))[:, None, None, None], labels)


def names(count):
    return [f"class {number}" for number in range(count)]


def held_out(hold_out, source, classes):
    return set(hold_out.divide(source, names(classes))["val"].ids.tolist())


@pytest.mark.parametrize("seed", range(40))
def test_rare_classes_are_on_both_sides(seed):
    parts = HoldOut(21, seed).divide(images(20, 20, 2), names(3))
    assert torch.bincount(parts["val"].labels).tolist() == [10, 10, 1]
    assert torch.bincount(parts["train"].labels).tolist() == [10, 10, 1]


@pytest.mark.parametrize(
    ("size", "available", "expected"),
    [
        (5000, [5000] * 10, [500] * 10),
        (10, [50, 30, 20], [5, 3, 2]),
        (3, [50, 30, 20], [1, 1, 1]),
        (2, [50, 30, 20], [1, 1, 0]),
        (10, [100, 1], [10, 0]),
        (3, [2, 2, 2], [1, 1, 1]),
        (4, [2, 2, 2], [2, 1, 1]),
        (1, [3, 0], [1, 0]),
        (5, [5, 5, 0], [3, 2, 0]),
    ],
)
def test_proportions(size, available, expected):
    assert proportional(size, available) == expected


@pytest.mark.parametrize(("size", "count"), [(0.2, 8), (0.01, 1), (7, 7), (7.0, 7), (39, 39)])
def test_numbers_and_fractions(size, count):
    assert len(held_out(HoldOut(size, 0), images(30, 10), 2)) == count


@pytest.mark.parametrize("size", [1.5, 1.0, float("inf")])
def test_a_size_that_is_neither_is_refused(size):
    with pytest.raises(UserError, match="neither a number of images nor a fraction"):
        HoldOut(size, 0)


@pytest.mark.parametrize("size", [-1, -0.5, float("nan")])
def test_a_size_below_0_is_refused(size):
    with pytest.raises(UserError, match="val_size"):
        HoldOut(size, 0)


def test_the_seed_chooses():
    chosen = [held_out(HoldOut(5, seed), images(20, 20), 2) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_loaded_choice_holds_for_other_images():
    first = HoldOut(0.3, 4)
    before = held_out(first, images(20, 20), 2)
    again = HoldOut(0.3, 4)
    again.load_state_dict(first.state_dict())
    some = images(20, 20).subset(torch.arange(0, 40, 2))
    assert held_out(again, some, 2) == {number for number in before if number % 2 == 0}
    more = LabelledImages(torch.arange(80), torch.arange(80) // 20 % 2)
    assert {number for number in held_out(again, more, 2) if number < 40} == before


def test_a_class_without_images_on_one_side_is_told(caplog):
    HoldOut(2, 0).divide(images(10, 10, 1), names(3))
    assert "validation has no image of class 2" in caplog.text
    caplog.clear()
    HoldOut(5, 0).divide(images(3, 3), names(2))
    assert "training has no image of class" in caplog.text


@pytest.mark.parametrize("training", [True, False])
def test_another_choice_than_the_loaded_one_is_refused(training):
    state = HoldOut(5, 0).state_dict()
    for size, seed in ((6, 0), (5, 1), (0.5, 0)):
        other = HoldOut(size, seed)
        other.load_state_dict(state)
        with pytest.raises(UserError, match="would move images"):
            other.check(training)
    without = HoldOut(0, 0)
    without.load_state_dict(state)
    if training:
        with pytest.raises(UserError, match="would move images"):
            without.check(training)
    else:
        without.check(training)  # which validates on a split that was not trained on


def test_images_that_were_all_trained_on_are_not_validated_on():
    hold_out = HoldOut(5, 0)
    hold_out.load_state_dict(HoldOut(0, 0).state_dict())
    with pytest.raises(UserError, match="would move images"):
        hold_out.check(training=False)


@pytest.mark.parametrize("counts", [(20, 20), (7, 11, 5), (5, 0, 6), (50, 5, 5, 5, 5, 6)])
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_have_each_image_once_and_as_many_of_each_class(counts, folds):
    source, found = images(*counts), []
    for fold in range(1, folds + 1):
        parts = HoldOut(0, 0, f"{fold}/{folds}").divide(source, names(len(counts)))
        assert not set(parts["train"].ids.tolist()) & set(parts["val"].ids.tolist())
        found.append(parts["val"])
        by_class = torch.bincount(parts["val"].labels, minlength=len(counts))
        assert all(abs(held - count / folds) < 1 for held, count in zip(by_class.tolist(), counts, strict=True))
    assert sorted(torch.cat([part.ids for part in found]).tolist()) == list(range(sum(counts)))
    sizes = [len(part.labels) for part in found]
    assert max(sizes) - min(sizes) <= 1


def test_a_fold_is_kept_with_the_run():
    source = images(20, 20)
    first = HoldOut(0, 0, "2/5")
    held = held_out(first, source, 2)
    again = HoldOut(0, 0)
    again.load_state_dict(first.state_dict())
    assert held_out(again, source, 2) == held
    again.check(training=False)
    for other in (HoldOut(0, 0, "3/5"), HoldOut(0.2, 0), HoldOut(0, 1, "2/5"), HoldOut(0, 0)):
        other.load_state_dict(first.state_dict())
        with pytest.raises(UserError, match="would move images between training and validation"):
            other.check(training=True)
    older = HoldOut(0.2, 0)
    older.load_state_dict({"val_size": 0.2, "val_seed": 0, "thresholds": {"class 0": 2**61, "class 1": 2**61}})
    assert 0 < len(held_out(older, source, 2)) < 40


def test_a_class_needs_an_image_for_each_fold():
    with pytest.raises(UserError, match="class 1 has 3 training images, fewer than the 5 folds"):
        HoldOut(0, 0, "1/5").divide(images(20, 3), names(2))
