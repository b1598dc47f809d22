import pytest
import torch
import torch.nn.functional as F

from lit_vision.models.loss import balanced_weights, training_loss

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 0, 0, 1, 1, 2])


def test_balanced_weights_give_all_classes_the_same_in_total():
    weights = balanced_weights(LABEL, 4)
    assert weights.tolist() == pytest.approx([0.5, 0.75, 1.5, 0.0])
    assert weights[LABEL].sum().item() == pytest.approx(6 * 3 / 4)


def test_a_weighted_loss_is_torchs_over_the_whole_set_whatever_the_batches():
    weights = balanced_weights(LABEL, 3)
    whole = training_loss(LOGITS, LABEL, None, 0.1, weights)
    parts = [training_loss(LOGITS[part], LABEL[part], None, 0.1, weights) for part in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(whole, (2 * parts[0] + 4 * parts[1]) / 6)
    unsmoothed = training_loss(LOGITS, LABEL, None, 0.0, weights)
    torch.testing.assert_close(unsmoothed, F.cross_entropy(LOGITS, LABEL, weights))  # the weights add up to 6


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_mixed_images_is_that_of_mixed_labels(smoothing):
    other, share = torch.tensor([1, 2, 0, 0, 1, 2]), torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    soft = share[:, None] * F.one_hot(LABEL, 3) + (1 - share)[:, None] * F.one_hot(other, 3)
    ours = training_loss(LOGITS, LABEL, (other, share), smoothing, None)
    torch.testing.assert_close(ours, F.cross_entropy(LOGITS, soft, label_smoothing=smoothing))
    weights = torch.tensor([0.5, 1.0, 1.5])
    weighted = training_loss(LOGITS, LABEL, (other, share), 0.0, weights)
    torch.testing.assert_close(weighted, -(weights * soft * LOGITS.log_softmax(1)).sum(1).mean())
