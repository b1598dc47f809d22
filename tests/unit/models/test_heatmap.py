from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lit_vision.errors import UserError
from lit_vision.models import Classifier, SmallCNN, TransferClassifier, WhitenedCNN
from lit_vision.models.heatmap import heatmaps, overlay

LABEL = torch.tensor([0, 1])
SLOW = [
    ("mobilenet_v2", 64),
    ("efficientnet_b0", 64),
    ("densenet121", 64),
    ("regnet_y_400mf", 64),
    ("convnext_tiny", 64),
    ("swin_t", 64),
    ("vit_b_16", 224),  # takes no other size
    ("inception_v3", 96),
    ("googlenet", 64),
]


class Net(Classifier):
    """A convolution, ReLU, and a linear layer on the means of the channels."""

    def __init__(self, channels=4, stride=1, inplace=False):
        super().__init__(class_names=["a", "b"])
        self.conv = nn.Conv2d(3, channels, stride, stride)
        self.act = nn.ReLU(inplace)
        self.head = nn.Linear(channels, 2)

    def forward(self, image):
        return self.head(self.act(self.conv(image)).mean((2, 3)))


class DocumentedNet(Classifier):
    """The example of Classifier's docstring."""

    def __init__(self, hidden=32, **kwargs):
        super().__init__(**kwargs)
        self.features = nn.Sequential(nn.Conv2d(3, hidden, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(hidden, len(self.class_names))

    def forward(self, image):
        return self.head(self.features(image).flatten(1))


class CornerNet(Net):
    """Looks at the upper left quarter only."""

    def forward(self, image):
        features = self.act(self.conv(image))
        return self.head(features[..., : features.shape[2] // 2, : features.shape[3] // 2].mean((2, 3)))


class ChannelsLastCornerNet(Net):
    def __init__(self):
        super().__init__(channels=24, stride=8)
        self.norm = nn.LayerNorm(24)

    def forward(self, image):
        features = self.norm(self.act(self.conv(image)).permute(0, 2, 3, 1))
        return self.head(features[:, : features.shape[1] // 2, : features.shape[2] // 2].mean((1, 2)))


class TokenCornerNet(Net):
    """Has tokens of patches behind others, and heads of attention as timm has them: (N, heads, T, channels)."""

    def __init__(self, leading):
        super().__init__(channels=24, stride=8)
        self.leading = leading
        self.first, self.norm, self.of_heads = nn.Parameter(torch.ones(1, leading, 24)), nn.Identity(), nn.Identity()

    def forward(self, image):
        patches = self.conv(image).relu()
        rows, columns = patches.shape[2:]
        seen = torch.zeros(rows, columns)
        seen[: rows // 2, : columns // 2] = 1
        seen = torch.cat([torch.ones(self.leading), seen.flatten()])
        tokens = torch.cat([self.first.expand(len(image), -1, -1), patches.flatten(2).mT], 1)
        heads = self.of_heads(self.norm(tokens).unflatten(2, (2, 12)).transpose(1, 2))
        return self.head((heads * seen[:, None]).mean(2).flatten(1))


class MLP(Classifier):
    def __init__(self):
        super().__init__(class_names=["a", "b"])
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, image):
        return self.layers(image)


def seeded(make, *args, **options):
    torch.manual_seed(0)
    return make(*args, **options)


def pictures(rows=16, columns=16):
    return torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def is_lit_in_the_corner_only(maps):
    rows, columns = maps.shape[1] // 2, maps.shape[2] // 2
    lit = maps[:, :rows, :columns].amax((1, 2))
    # Bilinear enlargement carries half a pixel of the feature map over, which is 4 pixels of the largest patches
    return lit.eq(1).all() and not maps[:, rows + 4 :].any() and not maps[:, :, columns + 4 :].any()


def check(maps, image):
    assert maps.shape == (len(image), *image.shape[2:])
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert maps.amax((1, 2)).tolist() == [1.0] * len(image)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_map_is_that_computed_by_hand(stride):
    model = Net(channels=2, stride=stride)
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.weight[0, 0], model.conv.weight[1, 1] = 1 / stride**2, 1 / stride**2  # red and green, averaged
        model.conv.bias.zero_()
        model.head.weight.copy_(torch.tensor([[2.0, -1.0], [0.5, 3.0]]))
    image = pictures()
    red, green = F.avg_pool2d(image, stride)[:, :2].relu().unbind(1)
    # The gradient of a logit is the weight of the channel over the number of pixels; those below zero do not count
    cam = torch.stack([2 * red[0], 0.5 * red[1] + 3 * green[1]])
    cam = F.interpolate(cam[:, None], (16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(heatmaps(model, image, LABEL), cam / cam.amax((1, 2), keepdim=True))


def test_a_network_that_looks_at_a_corner_lights_it():
    assert is_lit_in_the_corner_only(heatmaps(seeded(CornerNet, stride=2), pictures(), LABEL))


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (64, 96), (96, 64)])
def test_channels_may_be_last(rows, columns):
    assert is_lit_in_the_corner_only(heatmaps(seeded(ChannelsLastCornerNet), pictures(rows, columns), LABEL))


@pytest.mark.parametrize("leading", [0, 1, 2, 5])  # none; of the class; and of distillation; and registers
@pytest.mark.parametrize("columns", [64, 96])
def test_tokens_are_a_map_and_the_heads_of_attention_are_not(leading, columns):
    assert is_lit_in_the_corner_only(heatmaps(seeded(TokenCornerNet, leading), pictures(64, columns), LABEL))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: SmallCNN(image_size=64), id="SmallCNN"),
        pytest.param(lambda: DocumentedNet(image_size=64), id="DocumentedNet"),
        pytest.param(lambda: TransferClassifier("resnet18", None, image_size=64), id="resnet18"),
        *(
            pytest.param(
                lambda arch=arch, side=side: TransferClassifier(arch, None, image_size=side),
                id=arch,
                marks=pytest.mark.slow,
            )
            for arch, side in SLOW
        ),
    ],
)
def test_networks_of_the_project(model):
    model = seeded(model)
    image = pictures(*[model.input_spec.image_size] * 2)
    maps = heatmaps(model, image, LABEL)
    check(maps, image)
    assert not torch.equal(maps, heatmaps(model, image, LABEL.flip(0)))


def test_the_whitened_network():
    model = seeded(WhitenedCNN)
    nn.init.normal_(model.whiten.weight)  # which training computes
    image = pictures(32, 32)
    check(heatmaps(model, image, LABEL), image)


@pytest.mark.slow
def test_a_transformer_of_timm():
    pytest.importorskip("timm")
    model, image = seeded(TransferClassifier, "timm/vit_tiny_patch16_224", None), pictures(224, 224)
    check(heatmaps(model, image, LABEL), image)


def test_maps_of_equal_labels_are_equal_and_those_of_others_differ():
    model, image = seeded(Net), pictures()
    first, second = (heatmaps(model, image, torch.full((2,), label)) for label in (0, 1))
    assert torch.equal(first, heatmaps(model, image, torch.zeros(2, dtype=torch.int64)))
    assert not torch.equal(first, second)
    torch.testing.assert_close(heatmaps(model, image, LABEL), torch.stack([first[0], second[1]]))


@pytest.mark.parametrize("frozen", [False, True])
def test_the_network_and_the_image_stay_as_they_are(frozen):
    model = seeded(TransferClassifier, "resnet18", None, image_size=64)
    if frozen:
        model.requires_grad_(False)
    model.train()
    model.backbone.layer4.train()  # whose statistics would change
    needed = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    image = pictures(64, 64)
    before = image.clone()
    check(heatmaps(model, image, LABEL), image)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == needed
    assert all(p.grad is None for p in model.parameters())
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(image, before)
    assert not image.requires_grad
    assert image.grad is None


@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_the_caller_may_have_turned_gradients_off(context):
    model = seeded(Net).requires_grad_(False)
    expected = heatmaps(model, pictures(), LABEL)
    with context():
        maps = heatmaps(model, pictures(), LABEL.clone())
    assert torch.equal(maps, expected)
    assert not maps.requires_grad


def test_an_activation_may_be_changed_in_place():
    maps = [heatmaps(seeded(Net, inplace=inplace), pictures(), LABEL) for inplace in (False, True)]
    assert torch.equal(*maps)
    check(maps[1], pictures())


def test_what_was_done_before_a_change_in_place_counts():
    class Sums(Net):
        def forward(self, image):
            features = self.conv(image)
            before = features.mean((2, 3))
            features.relu_()
            return self.head(before + features.mean((2, 3)))

    class SumsOfCopies(Net):
        def forward(self, image):
            features = self.conv(image)
            return self.head(features.mean((2, 3)) + features.relu().mean((2, 3)))

    torch.testing.assert_close(*(heatmaps(seeded(kind), pictures(), LABEL) for kind in (Sums, SumsOfCopies)))


def test_a_network_may_change_its_image_in_place():
    class Shifts(Net):
        def forward(self, image):
            image += 0.5
            return super().forward(image)

    image = pictures()
    expected = heatmaps(seeded(Net), image + 0.5, LABEL)
    assert torch.equal(heatmaps(seeded(Shifts), image, LABEL), expected)
    assert torch.equal(image, pictures())


def test_a_network_in_bfloat16():
    image = pictures()
    check(heatmaps(seeded(Net).bfloat16(), image.bfloat16(), LABEL), image)


def test_nothing_speaks_for_the_class():
    model = Net()
    nn.init.zeros_(model.head.weight)
    maps = heatmaps(model, pictures(), LABEL)
    assert maps.shape == (2, 16, 16)
    assert not maps.any()


def test_a_network_without_a_feature_map():
    with pytest.raises(UserError, match=r"^MLP has no feature map to draw a heatmap from: leave --heatmap out$"):
        heatmaps(MLP(), pictures(), LABEL)


def test_an_overlay():
    image = torch.randint(0, 256, (3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    heatmap = torch.zeros(6, 8)
    heatmap[:, 4:] = 1
    before = image.clone()
    picture = overlay(image, heatmap)
    assert picture.shape == image.shape
    assert picture.dtype == torch.uint8
    assert torch.equal(image, before)
    assert len({tuple(pixel) for pixel in picture.flatten(1).T.tolist()}) == 6 * 8  # what is below the map can be seen
    grey = overlay(torch.full((3, 6, 8), 128, dtype=torch.uint8), heatmap).float()
    assert grey[..., 4:].mean() > grey[..., :4].mean() + 50
