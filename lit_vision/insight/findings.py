"""What is wrong with a data set: images that cannot be read, copies, labels that are likely wrong."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lit_vision.insight.duplicates import Pair, exact_copies, groups_of, is_mirrored, near_copies
from lit_vision.insight.label_noise import Suspects
from lit_vision.insight.scan import Look, stacked

BROKEN, EXACT, NEAR, MIRRORED, LABEL = "broken", "exact copy", "near copy", "mirrored copy", "label"

_RANK = {"test": 0, "val": 1}  # of the splits, by which a copy stays


class Item(NamedTuple):
    """An image of a data set.

    Attributes:
        name: its name, see :func:`lit_vision.data.image_names.image_names`.
        split: train, val or test; an image that is held out for validation is in val.
        label: its class, an index into the class names.
        look: what was seen of it.
    """

    name: str
    split: str
    label: int
    look: Look


class Finding(NamedTuple):
    """Something that may be wrong with an image.

    Attributes:
        kind: broken, exact copy, near copy, mirrored copy or label.
        item: position of the image.
        other: position of the image that it is a copy of; None if it is no copy.
        suggestion: the class that it more likely is of; None if its label is not suspected.
        detail: the reason, in words.
        exclude: whether it is proposed to leave the image out.
    """

    kind: str
    item: int
    other: int | None = None
    suggestion: int | None = None
    detail: str = ""
    exclude: bool = False


def find_broken(items: Sequence[Item]) -> list[Finding]:
    """The images that cannot be read."""
    return [
        Finding(BROKEN, position, detail=item.look.problem, exclude=True)
        for position, item in enumerate(items)
        if item.look.problem
    ]


def find_pairs(items: Sequence[Item]) -> list[Pair]:
    """The copies among the images, exact ones first; each copy is paired with the first image that it is like."""
    readable = [position for position, item in enumerate(items) if not item.look.problem]
    looks = [items[position].look for position in readable]
    pairs = exact_copies([look.content for look in looks])
    copies = {pair.second for pair in pairs}
    originals = [position for position in range(len(looks)) if position not in copies]
    different = [looks[position] for position in originals]
    hashes = (stacked(different, name) for name in ("small", "hash", "mirrored_hash"))
    near = near_copies(*hashes) if different else []
    pairs += [pair._replace(first=originals[pair.first], second=originals[pair.second]) for pair in near]
    return [pair._replace(first=readable[pair.first], second=readable[pair.second]) for pair in pairs]


def describe_pairs(items: Sequence[Item], pairs: Sequence[Pair], names: Sequence[str]) -> Iterator[Finding]:
    """The copies as findings: of images that are copies of each other, all but one are to be left out.

    The one that stays is in test if there is one, otherwise in val. If their labels differ, none stays, since nothing
    says which label is right.

    Args:
        items: the images.
        pairs: the copies.
        names: a name for each class.
    """
    groups: dict[int, list[int]] = {}
    for position, group in enumerate(groups_of(len(items), pairs).tolist()):
        groups.setdefault(group, []).append(position)
    for members in groups.values():
        original, *copies = sorted(members, key=lambda position: (_RANK.get(items[position].split, 2), position))
        if not copies:
            continue
        yield from (_describe_copy(items, copy, original, names) for copy in copies)
        if len({items[position].label for position in members}) > 1:
            yield _describe_copy(items, original, copies[0], names)


def _describe_copy(items: Sequence[Item], copy: int, original: int, names: Sequence[str]) -> Finding:
    one, other = items[copy], items[original]
    reasons = []
    if one.split != other.split:
        reasons.append(f"in {one.split} and {other.split}")
    if one.label != other.label:
        reasons.append(f"labels {names[one.label]} and {names[other.label]}")
    assert one.look.small is not None and other.look.small is not None  # noqa: PT018  # only what can be read has copies
    exact = one.look.content == other.look.content
    kind = EXACT if exact else MIRRORED if is_mirrored(one.look.small, other.look.small) else NEAR
    return Finding(kind, copy, original, detail="; ".join(reasons), exclude=True)


def describe_suspects(suspects: Suspects, positions: Sequence[int]) -> Iterator[Finding]:
    """Labels that are likely wrong, as findings; whether they are is for people to say.

    Args:
        suspects: the images, as positions among those that have features.
        positions: the position of each of those among all images.
    """
    for index, suggestion, probability, own in zip(*(column.tolist() for column in suspects), strict=True):
        detail = f"probability {probability:.3f}, and {own:.3f} of its label"
        yield Finding(LABEL, positions[index], suggestion=suggestion, detail=detail)


def leaks(items: Sequence[Item], findings: Sequence[Finding]) -> int:
    """Number of copies that are in another split than their original."""
    return _differing(items, findings, "split")


def contradictions(items: Sequence[Item], findings: Sequence[Finding]) -> int:
    """Number of copies that have another label than their original."""
    return _differing(items, findings, "label")


def _differing(items: Sequence[Item], findings: Sequence[Finding], field: str) -> int:
    pairs = {
        frozenset((found.item, found.other))
        for found in findings
        if found.other is not None and items[found.item]._asdict()[field] != items[found.other]._asdict()[field]
    }
    return len(pairs)
