"""Plants faults in a copy of a folder of images, and counts which of them lit-vision check finds.

python tests/stress/planted_faults.py SPLITS CHECK_OPTIONS...

SPLITS has SPLIT/CLASS/*.jpg with train and val or test. Of each class at most $MOST images are taken, and $SEED chooses
the faults: 20 exact copies and 20 that are resized and compressed again, half of them in the other split, 40 wrong
labels and 5 broken files. CHECK_OPTIONS are those of check besides --data.root and --output, such as --model.weights
FILE.
"""

import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image


def plant(source: Path, root: Path, rng: random.Random, most: int) -> dict[str, list]:
    """Copy the images with faults; returns the names of what was planted, in pairs for copies."""
    placed: list[tuple[str, str, Path]] = []
    splits = sorted(path.name for path in source.iterdir() if path.is_dir())
    classes = sorted(path.name for path in (source / splits[0]).iterdir())
    for split in splits:
        for name in classes:
            files = sorted((source / split / name).glob("*.jpg"))
            for file in rng.sample(files, min(most, len(files))):
                target = root / split / name / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                placed.append((split, name, Path(shutil.copy(file, target))))
    rng.shuffle(placed)
    images = iter(placed)
    planted: dict[str, list] = {"exact copy": [], "near copy": [], "label": [], "broken": []}
    for number in range(40):
        split, name, path = next(images)
        other = split if number % 2 else splits[1 - splits.index(split)]
        copy = root / other / name / f"copy{number}.jpg"
        if number < 20:
            shutil.copy(path, copy)
        else:
            picture, scale = Image.open(path).convert("RGB"), rng.uniform(0.5, 1.5)
            size = [max(8, round(side * scale)) for side in picture.size]
            picture.resize(size, Image.Resampling.BILINEAR).save(copy, quality=rng.randint(40, 80))
        planted["exact copy" if number < 20 else "near copy"].append(frozenset(map(str, (path, copy))))
    for number in range(40):
        split, name, path = next(images)
        wrong = rng.choice([other for other in classes if other != name])
        planted["label"].append(str(path.rename(root / split / wrong / f"wrong{number}.jpg")))
    for number in range(5):
        path = next(images)[2]
        content = path.read_bytes()
        path.write_bytes([content[: len(content) // 2], b"", b"no image", content[:200], os.urandom(500)][number])
        planted["broken"].append(str(path))
    return planted


def main() -> None:
    source, *options = sys.argv[1:]
    rng = random.Random(int(os.environ.get("SEED", "0")))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        planted = plant(Path(source), root, rng, int(os.environ.get("MOST", "100")))
        output = Path(folder) / "check"
        line = ["lit_vision", "check", *options, "--data.root", str(root), "--output", str(output)]
        subprocess.run([sys.executable, "-m", *line], check=False)
        with (output / "findings.csv").open(newline="") as file:
            rows = [
                {**row, **{key: str(root / row[key]) for key in ("image", "other") if row[key]}}
                for row in csv.DictReader(file)
            ]
    for kind, expected in planted.items():
        found = [row for row in rows if row["finding"] == kind]
        if kind.endswith("copy"):
            pairs = {frozenset((row["image"], row["other"])) for row in found}
            print(f"{kind}: {len(pairs & set(expected))} of {len(expected)}, {len(pairs - set(expected))} others")
        else:
            names = [row["image"] for row in found]
            right = len(set(names[:60]) & set(expected))
            print(f"{kind}: {right} of {len(expected)} among the first 60 of {len(names)}")


if __name__ == "__main__":
    main()
