import torch

from lit_vision.data.rng import random_bits, random_permutation, random_uniform


def test_first_draws_are_splitmix64s():
    # SplitMix64 with seed 0 gives these first three numbers (Vigna's reference implementation).
    reference = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [bits % 2**64 for bits in random_bits(torch.arange(1, 4)).tolist()] == reference


def test_draws_depend_on_their_key_alone():
    index = torch.tensor([5, 900, 17])
    whole = random_uniform(torch.arange(1000), 0, "flip", 3)
    assert torch.equal(random_uniform(index, 0, "flip", 3), whole[index])
    for other in ((1, "flip", 3), (0, "rotate", 3), (0, "flip", 4)):
        assert not torch.equal(random_uniform(index, *other), whole[index])


def test_uniform_is_uniform_and_keys_are_independent():
    a, b = (random_uniform(torch.arange(100_000), 0, "x", epoch) for epoch in (0, 1))
    assert a.min() >= 0
    assert a.max() < 1
    counts = torch.histc(a, 100, 0, 1)
    assert ((counts - 1000) ** 2 / 1000).sum() < 150  # chi square, 99 degrees of freedom: 0.999 quantile is 149
    assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 0.02


def test_permutation():
    order = random_permutation(1000, 0, 0)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert (order == torch.arange(1000)).sum() < 10
