import torch

from lit_vision.insight.label_noise import find_suspects, out_of_fold


def blobs(classes=4, each=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    centres = 3 * torch.randn(classes, 16, generator=generator)
    return centres[labels] + torch.randn(len(labels), 16, generator=generator), labels


def test_wrong_labels_are_the_first_suspects():
    features, true = blobs()
    labels, wrong = true.clone(), torch.tensor([3, 70, 71, 130, 200, 239])
    labels[wrong] = (labels[wrong] + 1) % 4
    suspects = find_suspects(out_of_fold(features, labels, 4, torch.arange(len(labels))), labels)
    assert set(suspects.index[:6].tolist()) == set(wrong.tolist())
    assert torch.equal(suspects.suggestion[:6], true[suspects.index[:6]])
    assert len(suspects.index) < 12
    assert (suspects.probability > suspects.own).all()


def test_a_copy_does_not_vouch_for_its_original():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(50)
    features = torch.randn(100, 200, generator=generator)  # says nothing, but can be learned by heart
    copies = torch.cat([features, features]), torch.cat([labels, labels])
    apart = out_of_fold(*copies, 2, torch.arange(200))
    together = out_of_fold(*copies, 2, torch.arange(100).repeat(2))
    assert (apart.argmax(1) == copies[1]).float().mean() > 0.8
    assert (together.argmax(1) == copies[1]).float().mean() < 0.65


def test_a_class_without_images_is_not_suggested():
    features, labels = blobs(classes=3)
    suspects = find_suspects(out_of_fold(features, labels, 5, torch.arange(len(labels))), labels)
    assert set(suspects.suggestion.tolist()) <= {0, 1, 2}


def test_no_class_is_suspected_as_a_whole():
    labels = torch.tensor([0] * 50 + [1] * 50)
    probabilities = torch.tensor([[0.9, 0.1]] * 50 + [[0.6, 0.4]] * 50)  # the second class is hard
    assert not len(find_suspects(probabilities, labels).index)
    probabilities[0] = torch.tensor([0.1, 0.9])
    assert find_suspects(probabilities, labels).index.tolist() == [0]
