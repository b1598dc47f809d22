"""The report of a check: report.md, findings.csv and pictures."""

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_vision.insight.findings import BROKEN, EXACT, LABEL, MIRRORED, NEAR, Finding, Item, contradictions, leaks
from lit_vision.plots import RED, Tile, as_png, plot_counts, plot_grid
from lit_vision.runs import REPORT_TEXT
from lit_vision.utils.files import write_together
from lit_vision.utils.text import as_cell, as_code, printable

FINDINGS = "findings.csv"
BEFORE = "findings_before.csv"
"""The findings of the check before."""

COPIES = (EXACT, NEAR, MIRRORED)

_PICTURES = 60
_SIDE = 128  # pixels of a picture
_GAP = 4  # pixels between two copies
_NAMED = 3
_KINDS = 8  # sizes and modes that are listed


def summary(items: Sequence[Item], findings: Sequence[Finding], unchecked: str) -> dict[str, str]:
    """What was found, in a line for each kind.

    Args:
        items: the images.
        findings: what may be wrong with them.
        unchecked: the reason why labels were not checked; empty if they were.
    """
    splits = Counter(item.split for item in items)
    kinds = Counter(found.kind for found in findings)
    classes = len({item.label for item in items})
    lines = {"images": f"{len(items):,} of {classes} classes: {', '.join(f'{k} {v:,}' for k, v in splits.items())}"}
    looks = Counter(item.look.kind for item in items if not item.look.problem).most_common()
    rest = sum(count for _, count in looks[_KINDS:])
    shown = [f"{kind}: {count:,}" for kind, count in looks[:_KINDS]]
    if more_kinds := len(looks) - len(shown):
        shown.append(f"{more_kinds:,} {'other' if more_kinds == 1 else 'others'}: {rest:,}")
    lines["kinds"] = "; ".join(shown) or "none"
    lines["broken"] = _with_names(items, findings, BROKEN)
    copies = [found for found in findings if found.kind in COPIES]
    pairs = Counter(kind for kind, _ in {(found.kind, _pair(found)) for found in copies})
    counted = ", ".join(f"{pairs[kind]:,} {kind.split()[0]}" for kind in COPIES)
    more = f"{leaks(items, copies):,} in two splits (leakage), {contradictions(items, copies):,} with different labels"
    lines["copies"] = f"{counted}; {more}" if copies else "none"
    lines["labels"] = unchecked or (f"{kinds[LABEL]:,} are likely wrong" if kinds[LABEL] else "none is suspicious")
    return lines


def class_table(items: Sequence[Item], class_names: Sequence[str]) -> list[str]:
    """The number of images of each class in each split, as the lines of a table.

    Args:
        items: the images.
        class_names: a name for each label.
    """
    counts = _counts(items, len(class_names))
    names = ["class", *(printable(name) for name in class_names)]
    columns = [[split, *(f"{count:,}" for count in values)] for split, values in counts.items()]
    widths = [max(map(len, column)) for column in columns]
    first = max(map(len, names))
    return [
        "  ".join([f"{name:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
        for name, *cells in zip(names, *columns, strict=True)
    ]


def _counts(items: Sequence[Item], classes: int) -> dict[str, list[int]]:
    counts = {split: [0] * classes for split in dict.fromkeys(item.split for item in items)}
    for item in items:
        counts[item.split][item.label] += 1
    return counts


def _pair(found: Finding) -> frozenset[int | None]:
    return frozenset((found.item, found.other))


def _with_names(items: Sequence[Item], findings: Sequence[Finding], kind: str) -> str:
    names = [printable(items[found.item].name) for found in findings if found.kind == kind]
    shown = ", ".join(names[:_NAMED])
    return f"{len(names):,}: {shown}{', ...' if len(names) > _NAMED else ''}" if names else "none"


def write_check_report(
    folder: Path,
    items: Sequence[Item],
    findings: Sequence[Finding],
    class_names: Sequence[str],
    picture_of: Callable[[int], Tensor],
    facts: Mapping[str, str],
) -> None:
    """Write the report.

    Args:
        folder: the folder to write to.
        items: the images.
        findings: what may be wrong with them.
        class_names: a name for each label.
        picture_of: gives the picture of the image at a position, (3, H, W) uint8.
        facts: lines for the beginning, by name.
    """
    names = [printable(name) for name in class_names]
    files = {FINDINGS: _table(items, findings, names)}
    files["counts.png"] = as_png(plot_counts(_counts(items, len(names)), names))
    copies = list({_pair(found): found for found in findings if found.kind in COPIES}.values())
    suspects = [found for found in findings if found.kind == LABEL]
    pictures = {
        "copies.png": [_copy_tile(found, items, names, picture_of) for found in copies[:_PICTURES]],
        "labels.png": [_label_tile(found, items, names, picture_of) for found in suspects[:_PICTURES]],
    }
    for name, tiles in pictures.items():
        if tiles:
            files[name] = as_png(plot_grid(tiles, side=2 * _SIDE + _GAP if name == "copies.png" else _SIDE))
    table = class_table(items, class_names)
    text = _markdown(table, findings, pictures, facts, len(copies), len(suspects), folder / FINDINGS)
    files[REPORT_TEXT] = text.encode(errors="backslashreplace")
    if (folder / FINDINGS).is_file():  # which may have been edited
        (folder / FINDINGS).replace(folder / BEFORE)
    write_together(folder, files, pictures.keys())


def _table(items: Sequence[Item], findings: Sequence[Finding], names: Sequence[str]) -> bytes:
    table = StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["exclude", "image", "split", "label", "finding", "other", "suggestion", "detail"])
    for found in findings:
        item = items[found.item]
        other = "" if found.other is None else items[found.other].name
        suggestion = "" if found.suggestion is None else names[found.suggestion]
        cells = [item.name, item.split, names[item.label], found.kind, other, suggestion, found.detail]
        writer.writerow(["x" if found.exclude else "", *map(as_cell, cells)])
    return table.getvalue().encode("utf-8", "surrogateescape")


def _copy_tile(
    found: Finding, items: Sequence[Item], names: Sequence[str], picture_of: Callable[[int], Tensor]
) -> Tile:
    assert found.other is not None
    first, second = (_square(picture_of(position)) for position in (found.item, found.other))
    pair = torch.cat([first, torch.full((3, _SIDE, _GAP), 255, dtype=torch.uint8), second], 2)
    lines = [
        " | ".join(_short(items[position].name) for position in (found.item, found.other)),
        " | ".join(f"{items[position].split} {names[items[position].label]}" for position in (found.item, found.other)),
    ]
    wrong = items[found.item].split != items[found.other].split or items[found.item].label != items[found.other].label
    return Tile(pair, lines, RED) if wrong else Tile(pair, lines)


def _label_tile(
    found: Finding, items: Sequence[Item], names: Sequence[str], picture_of: Callable[[int], Tensor]
) -> Tile:
    assert found.suggestion is not None
    item = items[found.item]
    return Tile(
        picture_of(found.item), [f"{names[item.label]}?", f"rather {names[found.suggestion]}", _short(item.name)]
    )


def _square(picture: Tensor) -> Tensor:
    """A picture (3, H, W) uint8 within a white square, (3, SIDE, SIDE) uint8."""
    scale = _SIDE / max(picture.shape[1:])
    height, width = (max(1, round(side * scale)) for side in picture.shape[1:])
    mode = "nearest" if scale >= 2 else "area" if scale < 1 else "bilinear"
    small = F.interpolate(picture[None].float(), (height, width), mode=mode)[0].round().to(torch.uint8)
    square = torch.full((3, _SIDE, _SIDE), 255, dtype=torch.uint8)
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    square[:, top : top + height, left : left + width] = small
    return square


def _short(name: str) -> str:
    return printable(name.rpartition("/")[2])


def _markdown(
    table: Sequence[str],
    findings: Sequence[Finding],
    pictures: Mapping[str, Sequence[Tile]],
    facts: Mapping[str, str],
    copies: int,
    suspects: int,
    path: Path,
) -> str:
    lines = ["# Check of the data", "", *(f"- {name}: {printable(text)}" for name, text in facts.items()), ""]
    lines += ["```", *table, "```", "", "![Images of each class](counts.png)", ""]
    if broken := [found for found in findings if found.kind == BROKEN]:
        lines += ["## Broken files", "", *(f"- {as_code(found.detail)}" for found in broken), ""]
    if copies:
        shown = f"The first {len(pictures['copies.png'])} of {copies:,}" if copies > _PICTURES else "Copies"
        lines += ["## Copies", "", "Red ones are in two splits, or have two labels.", ""]
        lines += [f"![{shown}](copies.png)", ""]
    if suspects:
        more = f" These are the {_PICTURES} most suspicious of {suspects:,}." if suspects > _PICTURES else ""
        shown = "Images with labels that are likely wrong"
        lines += ["## Labels that are likely wrong", "", f"Networks that did not see the image disagree.{more}", ""]
        lines += [f"![{shown}](labels.png)", ""]
    lines += [
        f"All findings are in [{FINDINGS}]({FINDINGS}). Put an x into the column exclude of an image that is to be "
        f"left out, or remove it, then train with {as_code(f'--data.exclude {path}')}.",
        "",
    ]
    return "\n".join(lines)
