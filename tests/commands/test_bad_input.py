"""Bad input gets exit code 2 and one line that names the culprit and the remedy; no traceback, no files."""

import io
import sys
import urllib.error
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from lit_vision.errors import UserError

CIFAR = "fit --config cifar.yaml --trainer.accelerator cpu"
ANTS = "fit --config hymenoptera.yaml --model.weights null"
SHAPES = (
    "fit --config shapes.yaml --trainer.accelerator cpu --data.train_size 100 --data.val_size 20 --trainer.max_epochs 1"
)
FOLDER = f"{CIFAR} --data ImageFolderDataModule --data.val_size 0 --data.root images"
TABLE = f"{CIFAR} --data ImageTableDataModule --data.val_size 0 --data.root images"
BEST = "lightning_logs/shapes/version_0/checkpoints/best.ckpt"
OTHER = "--model.hidden [10,10]"
TWO = {"red": 4, "blue": 4}


# What is in the folder before the command: each makes a function of the test's fixtures


def nothing(fitted, folders, serve, monkeypatch):
    """An empty folder."""


def text(name, content):
    def write(fitted, folders, serve, monkeypatch):
        Path(name).write_text(content)

    return write


def served(**answer):
    """A server whose address takes the place of {url}."""

    def start(fitted, folders, serve, monkeypatch):
        return serve(**answer)

    return start


def pictures(splits, *more):
    """images/SPLIT/CLASS/N.png, and folders that have none; ``more`` are (path, content)."""

    def make(fitted, folders, serve, monkeypatch):
        folders(splits)
        for split, classes in splits.items():
            for name in classes or [""]:
                Path("images", split, name).mkdir(parents=True, exist_ok=True)
        for path, content in more:
            Path("images", path).write_bytes(content)

    return make


def table(*lines):
    return pictures({".": TWO}, ("images.csv", "\n".join(lines).encode()))


def sizes(fitted, folders, serve, monkeypatch):
    """Images of more than one size."""
    folders({"train": TWO, "val": TWO})
    folders({"val": {"red": 5}}, size=40)


def twice(fitted, folders, serve, monkeypatch):
    """An image that is in train and, as a link, in val."""
    root = folders({"train": TWO, "val": TWO})
    (root / "val" / "red" / "9.png").symlink_to(root / "train" / "red" / "0.png")


def trained(fitted, folders, serve, monkeypatch):
    """A run, and photo.png."""
    fitted(SHAPES)
    Image.new("RGB", (32, 32)).save("photo.png")


def damaged(change):
    """A run whose best.ckpt was changed."""

    def make(fitted, folders, serve, monkeypatch):
        trained(fitted, folders, serve, monkeypatch)
        change(Path(BEST))

    return make


def moved(fitted, folders, serve, monkeypatch):
    """A checkpoint that left its run."""
    trained(fitted, folders, serve, monkeypatch)
    Path(BEST).rename("moved.ckpt")


def offline(fitted, folders, serve, monkeypatch):
    """No network, and no weights in torch's folder."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(Path("torch").absolute()))


def without_onnx(fitted, folders, serve, monkeypatch):
    trained(fitted, folders, serve, monkeypatch)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


def archive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("hymenoptera_data/train/ants/1.jpg", b"x")
    return content.getvalue()


TYPED = [
    ("", ["fit", "validate", "test"]),
    ("train", ["invalid choice: 'train'", "fit"]),
    ("fit --config nosuch.yaml", ["nosuch.yaml", "cifar.yaml", "shapes.yaml"]),
    ("fit --config", ["--config"]),
    ("fit --model.lrr 0.1", ["SmallCNN", "lrr", "did you mean lr?"]),
    ("fit --data.val_sise 3", ["ShapesDataModule", "did you mean val_size?"]),
    ("fit --trainr.max_epochs 3", ["did you mean --trainer.max_epochs?"]),
    ("fit --model.lr fast", ["lr", "float", "fast"]),
    ("fit --model.activation Swish", ["activation", "ReLU", "Swish"]),
    ("fit --config shapes.yaml --model SmalCNN", ["SmalCNN"]),
    ("fit --trainer.max_epochs many", ["trainer.max_epochs", "int", "many"]),
    ("fit --data.augment [flop]", ["flip", "flop"]),
    ("fit --data.augment flop", ["flip", "flop"]),
    ("fit --data.augment flip,jitter", ["use --data.augment '[flip, jitter]'"]),
    ("fit --data.mean 0.4,0.5,0.5", ["use --data.mean '[0.4, 0.5, 0.5]'"]),
    ("fit --data.mean [0.4,0.5]", ["3 elements"]),
    ("fit --data.std 0", ["std 0.0", "--data.std"]),
    ("fit --data.image_size 64,48", ["use --data.image_size 64, one number"]),
    ("fit --data.val_size 20%", ["use --data.val_size 0.2"]),
    ("fit --data.val_size 1.5", ["val_size 1.5", "fraction below 1"]),
    ("fit --data.val_size -1", ["val_size -1", "at least 0"]),
    ("fit --data.resize center_crop", ["resize center_crop needs a size", "--data.image_size"]),
    ("fit --data.num_workers -1", ["num_workers -1"]),
    ("fit --data.memory_budget -1", ["memory_budget -1"]),
    ("fit --config folder.yaml --data.root caf\udce9", ["caf\\xe9 is not UTF-8"]),
    ("fit --config folder.yaml --data.splits train", ["--data.splits '{NAME: VALUE"]),
    ("fit --config folder.yaml --data.splits.training x", ["'training'", "train, val and test"]),
    ("fit --config folder.yaml --data.classes cat", ["use --data.classes '[cat]'"]),
    ("fit --config folder.yaml --data.classes [cat,cat]", ["a name twice", "--data.classes"]),
    ("fit --trainer.accelerator cuda --trainer.devices 99", ["--trainer"]),
    (f"{SHAPES} --data.image_size 12", ["12", "--data.image_size to 16"]),
    (f"{SHAPES} --data.val_size 100", ["val_size 100", "100 images", "--data.val_size"]),
    (f"{SHAPES} --data.batch_size 0", ["batch_size 0"]),
    (f"{SHAPES} --model.kernel_size 0", ["kernel_size"]),
    (f"{SHAPES} --data.crop_epochs 1", ["crop_epochs needs", "--data.crop_size"]),
    (f"{SHAPES} --data.crop_epochs 1 --data.crop_size 24", ["SmallCNN", "24 pixels", "--data.crop_size"]),
    (f"{SHAPES} --data.crop_epochs 1 --data.crop_size 40", ["crop_size 40", "32", "--data.crop_size"]),
    (f"{SHAPES} --data.crop_epochs 1 --data.crop_size 0", ["crop_size 0", "--data.crop_size"]),
    (f"{SHAPES} --data.crop_epochs -1", ["crop_epochs -1", "--data.crop_epochs"]),
    (f"{SHAPES} --data.crop_size 24 --data.crop_from 20", ["crop_from 20", "--data.crop_from"]),
    (f"{SHAPES} --model.tta 1.5", ["tta 1.5", "--model.tta"]),
    ("predict --ckpt_path x.ckpt --images x --model.tta maybe", ["--model.tta", "maybe"]),
    (f"{SHAPES} --model.weights nosuch.pth", ["nosuch.pth"]),
    ("fit --model.lr -1", ["lr -1"]),
    ("fit --seed_everything -1", ["--seed_everything"]),
    ("fit --trainer.strategy foo", ["foo", "--trainer"]),
    ("fit --trainer.accelerator foo", ["foo", "--trainer"]),
    ("fit --data.num_workers -1", ["num_workers -1"]),
    ("fit --model.image_size 64", ["--model.image_size", "--data"]),
    ("fit --trainer.max_epo 3", ["--trainer.max_epo", "did you mean --trainer.max_epochs?"]),
    ("fit --lr 0.01", ["--lr", "did you mean --model.lr?"]),
    ("fit --batch_size 3", ["--batch_size", "did you mean --data.batch_size?"]),
    ("fit shapes.yaml", ["did you mean --config shapes.yaml?"]),
    ("fit --model ResNet18 --data ShapesDataModule", ["--model", "ResNet18"]),
    ("fit --model my_net.MyNet --data ShapesDataModule", ["--model", "my_net"]),
    ("fit --model torch.nn.Linear --data ShapesDataModule", ["--model", "torch.nn.Linear", "Classifier"]),
    ("fit --name ../x", ["../x", "--name"]),
    ("fit --data ImageFolderDataModule", ["--config", "folder.yaml"]),
    ("fit --config file", ["file is not a config"]),
    (f"{SHAPES} --trainer.default_root_dir /proc/nosuch", ["/proc/nosuch", "--trainer.default_root_dir"]),
    (f"{SHAPES} --trainer.default_root_dir file", ["file", "--trainer.default_root_dir"]),
    (f"{CIFAR} --data.url foo", ["foo", "--data.url"]),
    ("fit --config hymenoptera.yaml --model.weights null --model.arch resnet81", ["resnet81", "resnet18"]),
    (
        "fit --config hymenoptera.yaml --model.weights null --model.arch squeezenet1_0",
        ["squeezenet1_0", "not Linear"],
    ),
    ("fit --config hymenoptera.yaml --model.weights nosuch.pth", ["nosuch.pth", "DEFAULT"]),
    ("fit --config folder.yaml --data ImageTableDataModule --data.root .", ["images.csv", "--data.table"]),
    ("export --ckpt_path nosuch.ckpt", ["nosuch.ckpt"]),
    ("export --format onxx", ["format", "state_dict"]),
    ("validate", ["--ckpt_path"]),
    ("test --config shapes.yaml", ["--ckpt_path"]),
    ("validate --ckpt_path nosuch.ckpt", ["nosuch.ckpt"]),
    ("validate --ckpt_path best", ["lightning_logs", "train first"]),
    (f"{CIFAR} --data.url http://127.0.0.1:1/x.tar.gz", ["127.0.0.1:1", "--data.url", "--data.root"]),
    (f"{CIFAR} --data.root file", ["file", "is a file", "--data.root"]),
    (f"{CIFAR} --data.root /proc/nosuch", ["/proc/nosuch", "cannot be written", "--data.root"]),
    (f"{CIFAR} --data ImageFolderDataModule --data.root nosuch", ["nosuch does not exist", "--data.root"]),
    (f"{CIFAR} --data ImageFolderDataModule --data.root file", ["file is not a folder", "--data.root"]),
]

SOURCES = [
    (
        text("broken.yaml", "model:\n  class_path: SmallCNN\n init_args: {}\n"),
        "fit --config broken.yaml",
        ["broken.yaml", "YAML"],
    ),
    (text("unknown.yaml", "modl: {class_path: SmallCNN}"), "fit --config unknown.yaml", ["modl"]),
    (served(content=b"no", status=404), f"{CIFAR} --data.url {{url}}", ["404", "--data.url", "--data.root"]),
    (served(content=b"half", length=100), f"{CIFAR} --data.url {{url}}", ["127.0.0.1", "--data.url"]),
    (served(content=b"wrong"), f"{CIFAR} --data.url {{url}}", ["127.0.0.1", "--data.url"]),
    (served(content=archive()), f"{ANTS} --data.url {{url}}", ["127.0.0.1", "--data.url"]),
    (served(content=archive(), length=10**6), f"{ANTS} --data.url {{url}}", ["127.0.0.1", "--data.url"]),
    (pictures({"train": {}}), FOLDER, ["images/train", "no class folders"]),
    (pictures({"train": {"red": 4}, "val": {"red": 4}}), FOLDER, ["one class", "'red'"]),
    (pictures({"train": {**TWO, "green": 0}, "val": TWO}), FOLDER, ["train/green", "no images"]),
    (pictures({"train": TWO, "val": {**TWO, "green": 1}}), FOLDER, ["val", "'green'", "train lacks"]),
    (pictures({"val": TWO, "test": TWO}), FOLDER, ["none named train"]),
    (pictures({"val": TWO}), FOLDER, ["val", "none named train"]),
    (pictures({".": {**TWO, "test": 4}}), FOLDER, ["images has test", "--data.splits '{train: .}'"]),
    (pictures({"train": TWO, ".": {"green": 4}}), FOLDER, ["train", "beside it green", "--data.splits"]),
    (pictures({"seg_train": TWO, "seg_test": TWO}), FOLDER, ["{train: seg_train, test: seg_test}"]),
    (pictures({"train": TWO, "Training": TWO}), FOLDER, ["two folders for train"]),
    (pictures({"red": {"train": 2, "test": 2}, "blue": {"train": 2, "test": 2}}), FOLDER, ["splits inside of a class"]),
    (pictures({"train": TWO}), f"{FOLDER} --data.splits.train nosuch", ["no folder nosuch", "--data.splits"]),
    (pictures({"train": TWO}), f"{FOLDER} --data.splits.test train", ["for test", "none named train"]),
    (pictures({"train": TWO, "val": TWO}), f"{FOLDER} --data.classes [red,green]", ["'blue'", "red, green"]),
    (twice, FOLDER, ["one image is in two splits, train and val", "images/train/red/0.png", "images/val/red/9.png"]),
    (pictures({".": TWO}), FOLDER, ["--data.val_size"]),
    (pictures({".": TWO}), f"{FOLDER} --data.val_size 9", ["val_size 9", "8 images"]),
    (sizes, FOLDER, ["40x40", "--data.image_size"]),
    *(
        (
            pictures({"train": TWO, "val": TWO}, ("train/red/bad one.png", content)),
            FOLDER + more,
            ["images/train/red/bad one.png", "cannot read"],
        )
        for content in (b"", b"no image at all", b"\x89PNG\r\n\x1a\n\0\0")
        for more in ("", " --data.memory_budget 0")
    ),
    (table("file,label"), TABLE, ["images.csv has no column 'path'"]),
    (table("path,class"), TABLE, ["no column 'label'"]),
    (table("path,label,split", "red/0.png,red,dev"), TABLE, ["line 2", "unknown split 'dev'"]),
    (table("path,label", "red/0.png,red", "red/9.png,red"), TABLE, ["line 3", "9.png", "does not exist"]),
    (table("path;name"), TABLE, ["no column 'label'", "its columns: path, name"]),
    (table("path,label", "red/0,0.png,red"), TABLE, ["line 2 has 3 cells for 2 columns"]),
    (table("path,label", "red/0.png,red", "red/0.png,blue"), TABLE, ["two classes, red and blue", "line 2", "line 3"]),
    (table("path,label,split", "red/0.png,red,test"), TABLE, ["no images in train"]),
    (
        table("path,label,split", "red/0.png,red,train", "blue/0.png,blue,train", "red/1.png,green,val"),
        TABLE,
        ["line 4", "'green'", "train lacks"],
    ),
    (pictures({".": TWO}, ("images.csv", b"path,label\n\xff,a\n")), TABLE, ["images.csv", "UTF-8"]),
    (offline, "fit --config hymenoptera.yaml", ["resnet18-", "--model.weights FILE"]),
    (text("x.pth", "no weights"), "fit --config hymenoptera.yaml --model.weights x.pth", ["x.pth"]),
]

TRAINED = [
    (trained, f"validate --ckpt_path {BEST} {OTHER}", ["layer1.weight", "another network"]),
    (trained, f"fit --ckpt_path {BEST} {OTHER} --trainer.max_epochs 2", ["layer1.weight"]),
    (moved, "validate --ckpt_path moved.ckpt", ["moved.ckpt", "--config"]),
    (damaged(lambda best: best.write_bytes(best.read_bytes()[:5000])), "validate --ckpt_path best", ["best.ckpt"]),
    (damaged(lambda best: best.write_bytes(best.read_bytes()[:5000])), "fit --ckpt_path best", ["best.ckpt"]),
    (damaged(lambda best: torch.save({"state_dict": {}}, best)), "test --ckpt_path best", ["best.ckpt"]),
    (trained, "predict --ckpt_path best --images nosuch.png", ["nosuch.png"]),
    (trained, "predict --ckpt_path best --images photo.png --top 0", ["top 0 is too small"]),
    (trained, "predict --ckpt_path best --images photo.png --output photo.png", ["photo.png", "one of the images"]),
    (trained, "predict --ckpt_path best --images photo.png --output lightning_logs", ["lightning_logs is a folder"]),
    (trained, "export --ckpt_path best --output photo.png/x.onnx --format onnx", ["photo.png"]),
    (without_onnx, "export --ckpt_path best --format onnx", ["onnxruntime", "pip install 'lit-vision[onnx]'"]),
]


def files():
    """All files with their contents, and the folders of all runs."""
    found = {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    return found, sorted(Path().rglob("version_*"))


@pytest.mark.slow
@pytest.mark.parametrize(("given", "line", "words"), [*((text("file", ""), *row) for row in TYPED), *SOURCES, *TRAINED])
def test_bad_input(cli, fitted, folders, serve, monkeypatch, given, line, words):
    url = given(fitted, folders, serve, monkeypatch)
    before = files()
    result = cli(line.format(url=url) if url else line)
    assert result.code == 2, result
    (message,) = [part for part in result.err.splitlines() if part and "%|" not in part]  # without a download's bar
    for word in words:
        assert word in message
    assert "Traceback" not in result.out + result.err
    assert files() == before


def test_a_moved_checkpoint_opens_with_its_config(cli, fitted, folders, serve, monkeypatch):
    moved(fitted, folders, serve, monkeypatch)
    assert cli("validate --config lightning_logs/shapes/version_0/config.yaml --ckpt_path moved.ckpt").code == 0


def test_debug_shows_the_traceback(cli, monkeypatch):
    monkeypatch.setenv("LIT_VISION_DEBUG", "1")
    with pytest.raises(UserError):
        cli("validate")
