"""Every command and every example of the READMEs and of docs/ works as it is written there."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers import QUICK, REPOSITORY, run
from PIL import Image

import lit_vision.data
from lit_vision.commands import COMMANDS
from lit_vision.data import ShapesDataModule

PAGES = [*sorted(REPOSITORY.glob("README*.md"), reverse=True), *sorted((REPOSITORY / "docs").glob("*.md"))]
SMALL = f"{QUICK} 1".split()
SHAPES_RUN = f"fit --config shapes.yaml {QUICK} 1"
ANSWERS = ("--help", "--version", "--print_config", "--model.help", "--data.help")  # these run nothing
NEEDS_MORE = ("--data", "--ckpt_path", "--trainer.devices", "--model.compile")  # than the built-in shapes and a moment


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of each command in a page's bash blocks."""
    return [words for block in blocks(page, "bash") for words in commands_in(block)]


def commands_in(block: str) -> Iterator[list[str]]:
    """The words of each command, without comments and redirections."""
    for line in block.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word not in ("&&", "||", ";", "|"):
                words.append(word)
            elif words:
                yield words[: words.index(">")] if ">" in words else words
                words = []


def own_words(command: list[str]) -> list[str] | None:
    """The command line after ``lit-vision``, however it is started; None for another program."""
    words = [word for word in command if word not in ("…", "...")]
    for place, word in enumerate(words):
        if word == "lit-vision":
            return words[place + 1 :]
        if word == "lit_vision" and words[place - 1] == "-m":
            return words[place + 1 :]
        if word in ("scripts/fit.py", "scripts/predict.py"):
            return [Path(word).stem, *words[place + 1 :]]
    return None


def values(words: list[str], option: str) -> list[str]:
    """What follows an option, up to the next one; of --option=value the value."""
    found = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    if option in words:
        rest = words[words.index(option) + 1 :]
        end = next((place for place, word in enumerate(rest) if word.startswith("--")), len(rest))
        found += rest[:end]
    return found


def has(words: list[str], *options: str) -> bool:
    return any(word.partition("=")[0] in options for word in words)


def checked(words: list[str]) -> list[str]:
    """A short form of a command that downloads nothing: small images, or its options alone."""
    name, *options = words if words else [""]
    if "--accept" in words:  # of which a network of a moment is far away
        place = words.index("--accept") + 1
        return [*words[:place], "0.01", *words[place + 1 :]]
    if name not in ("check", "fit", "folds", "lr-find", "validate", "test") or has(options, *ANSWERS):
        return words
    if name == "check" and has(options, "--model"):
        return words
    if (
        name in ("fit", "folds")
        and values(options, "--config") in ([], ["shapes.yaml"])
        and not has(options, *NEEDS_MORE)
    ):
        return [*words, *SMALL]
    if name in ("validate", "test") and not has(options, "--config", "--data", "--model"):
        return words
    return [*words, "--print_config"]


def write_classes(words: list[str]) -> None:
    """Write the files of the user's own that a command names, with the classes that some page shows."""
    shown = [block for page in PAGES for block in blocks(page, "python") if re.search(r"^class ", block, re.MULTILINE)]
    stub = "from lightning.pytorch import Callback\nclass {}(Callback):\n    def __init__(self, option: int = 0): ...\n"
    for word in words:
        if found := re.fullmatch(r"(my_\w+)\.(\w+)", word):
            defined = any(f"class {found[2]}(" in block for block in shown)
            Path(f"{found[1]}.py").write_text("\n\n".join(shown) if defined else stub.format(found[2]))


def write_files(words: list[str], cli) -> None:
    """Make the images and the checkpoint that a command names."""
    for name in values(words, "--images"):
        path = Path(name) if Path(name).suffix else Path(name, "1.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 30), 100).convert("RGB").save(path)
    for checkpoint in values(words, "--ckpt_path"):
        if checkpoint not in ("best", "last") and not Path(checkpoint).exists():
            line = ["fit", "--config", "shapes.yaml", *SMALL, "--name", "made"]
            model = ["--model", *values(words, "--model")] if has(words, "--model") else []
            assert cli("", *line, *model).code == 0
            Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy("lightning_logs/made/version_0/checkpoints/best.ckpt", checkpoint)


@pytest.fixture
def _own_modules():
    """Modules of one's own are imported anew by each test."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.usefixtures("_own_modules")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(own_words, commands(page)))], ids=lambda page: page.name
)
def test_commands_of_a_page_work_in_their_order(cli, fitted, page):
    fitted(SHAPES_RUN)
    for number, block in enumerate(blocks(page, "yaml")):
        name = re.match(r"# (\S+\.yaml)\n", block)
        Path(name[1] if name else f"{number}.yaml").write_text(block)
    for words in filter(None, map(own_words, commands(page))):
        write_classes(words)
        write_files(words, cli)
        result = cli("", *checked(words))
        assert result.code == 0, f"{page.name}: {shlex.join(words)}\n{result.err}"
        for option in ("--output", "--grid"):
            assert all(Path(name).is_file() for name in values(words, option)), words


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=lambda page: page.name)
def test_configs_of_a_page_are_accepted(cli, page):
    for block in blocks(page, "yaml"):
        Path("mine.yaml").write_text(block)
        result = cli("fit --config shapes.yaml --config mine.yaml --print_config")
        assert result.code == 0, f"{block}\n{result.err}"
        assert yaml.safe_load(block).keys() <= yaml.safe_load(result.out).keys()


@pytest.mark.slow
@pytest.mark.usefixtures("_own_modules")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_examples_of_a_page_run_in_their_order(fitted, monkeypatch, page):
    def small(*args, **options):
        kept = {name: value for name, value in options.items() if name in ("augment", "batch_size")}
        return ShapesDataModule(train_size=200, test_size=50, val_size=50, **kept)

    for name in ("CIFAR10DataModule", "HymenopteraDataModule", "ImageFolderDataModule", "ShapesDataModule"):
        monkeypatch.setattr(lit_vision.data, name, small)
    fitted(SHAPES_RUN)
    Path("photos").mkdir()
    Image.effect_noise((40, 30), 100).convert("RGB").save("photos/1.jpg")
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(page, "python"):
        for checkpoint in re.findall(r'"([\w/]+\.ckpt)"', block):
            if not Path(checkpoint).exists():
                Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy("lightning_logs/shapes/version_0/checkpoints/best.ckpt", checkpoint)
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.slow
def test_readmes_own_way_from_fit_to_export(cli):
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for command in commands(page):
            words = own_words(command)
            if words and (words[0] != "fit" or values(words, "--config") == ["shapes.yaml"]):
                found.setdefault(words[0], command)
    for name in ("fit", "test", "predict", "export"):
        words = own_words(found[name])
        assert words is not None
        for image in values(words, "--images"):
            Image.effect_noise((40, 30), 100).convert("RGB").save(image)
        if name == "fit":  # the script, in a process of its own
            real = {"python": sys.executable, "scripts/fit.py": str(REPOSITORY / "scripts" / "fit.py")}
            result = run([*(real.get(word, word) for word in found[name]), *SMALL])
        else:
            result = cli("", *words)
        assert result.code == 0, f"{found[name]}\n{result.err}"
        assert all(Path(output).is_file() for output in values(words, "--output"))


def test_the_pages_show_every_command():
    shown = {words[0] for page in PAGES for words in filter(None, map(own_words, commands(page)))}
    assert shown == set(COMMANDS)


def test_scripts_and_programs_that_the_pages_name_exist():
    for page in PAGES:
        for words in commands(page):
            for word in words:
                if re.fullmatch(r"(scripts|tests)/[\w/]+\.py", word):
                    assert (REPOSITORY / word).is_file(), f"{page.name}: {word}"


def test_an_option_that_does_not_exist_is_found(cli):
    words = own_words(next(commands_in("lit-vision fit --config cifar.yaml \\\n    --data.batch 3  # more")))
    assert words == ["fit", "--config", "cifar.yaml", "--data.batch", "3"]
    assert cli("", *checked(words)).code == 2
