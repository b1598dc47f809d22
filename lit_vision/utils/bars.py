"""Progress bars for work before and after the training itself."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    what: str | None,
    total: int | None = None,
    items: Iterable[Any] | None = None,
    unit: str = "images",
    delay: float = 0,
    hidden: bool = False,
) -> Any:
    """Make a progress bar, which shows what is done and the time left, on a terminal only.

    Args:
        what: name of the work; None for a bar without a name.
        total: number of things to do; None if nobody knows, so that the bar shows how many are done.
        items: the things, for a bar that is iterated over; None for one whose ``update()`` is called.
        unit: what is counted, in the plural.
        delay: seconds that the work takes before the bar appears.
        hidden: show no bar on a terminal either, for all processes but one.

    Returns:
        A tqdm bar: a context manager with ``update()``, and an iterable of the items.
    """
    return tqdm(items, total=total, desc=what, unit=f" {unit}", leave=False, disable=hidden or None, delay=delay)
