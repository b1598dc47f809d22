import pytest
import torch
from torchvision import models

from lit_vision.errors import UserError
from lit_vision.models.networks import find_backbone
from lit_vision.models.unfreeze import trained_stages

FAMILIES = {
    "alexnet": 3,
    "convnext_tiny": 4,
    "densenet121": 5,
    "efficientnet_b0": 5,
    "googlenet": 5,
    "inception_v3": 5,
    "maxvit_t": 5,
    "mnasnet0_5": 5,
    "mobilenet_v2": 5,
    "mobilenet_v3_small": 5,
    "regnet_y_400mf": 5,
    "resnet18": 5,
    "shufflenet_v2_x0_5": 4,
    "swin_t": 4,
    "vgg11": 5,
    "vit_b_16": 13,
}


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "count"), FAMILIES.items())
def test_the_stages_of_every_family_have_each_parameter_that_takes_part_once(arch, count):
    stages = find_backbone(arch).stages()
    assert len(stages) == count
    names = [name for stage in stages for name in stage.params]
    assert len(names) == len(set(names))
    network = find_backbone(arch).make()
    every = {name for name, _ in network.named_parameters()}
    assert every - set(names) == {name for name in every if name.lower().startswith("aux")}


def test_the_stages_of_resnet_are_its_layers():
    assert [stage.name for stage in find_backbone("resnet18").stages()] == [
        "conv1 to bn1",
        *(f"layer{number}.0 to layer{number}.1" for number in range(1, 5)),
    ]


def test_what_is_trained():
    stages, network = find_backbone("resnet18").stages(), models.resnet18()
    trained = {what: trained_stages(stages, what, network) for what in ("head", "norm", "all", 2)}
    assert [len(stage.params) for stage in trained["head"]] == [0] * 5
    assert trained["all"] == stages
    assert [bool(stage.params) for stage in trained[2]] == [False, False, False, True, True]
    parameters = dict(network.named_parameters())
    norms = [name for stage in trained["norm"] for name in stage.params]
    assert len(norms) == 2 * sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert all(parameters[name].ndim == 1 for name in norms)


@pytest.mark.parametrize("count", [0, -1, 6])
def test_more_stages_than_there_are(count):
    with pytest.raises(UserError, match=r"use --model\.unfreeze from 1 to 5"):
        trained_stages(find_backbone("resnet18").stages(), count, models.resnet18())
