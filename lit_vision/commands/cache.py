import argparse
import json
from pathlib import Path

from lit_vision.data.disk_cache import DiskCache, age, cache_folder, readable_size
from lit_vision.data.row_file import DamagedError, RowFile
from lit_vision.parsing.arguments import bare_parser
from lit_vision.utils.text import printable


def cache_parser() -> argparse.ArgumentParser:
    """The options of ``lit-vision cache``."""
    parser = bare_parser("cache", "List or clear what was decoded and computed once, for later runs.")
    parser.add_argument(
        "--data.cache",
        dest="folder",
        metavar="DIR",
        help="Folder of the cache. Default: $LIT_VISION_CACHE, or the user's cache folder if that is not set.",
    )
    parser.add_argument("--clear", action="store_true", help="Remove everything. Runs that use it are not disturbed.")
    return parser


def cache(words: list[str]) -> None:
    """List or clear the cache on disk.

    Args:
        words: the command line after ``cache``.
    """
    options = cache_parser().parse_args(words)
    kept = DiskCache(cache_folder(options.folder))
    if kept.folder is None:
        print("none keeps nothing")
        return
    place = printable(str(kept.folder))
    if options.clear:
        print(f"{place}: {readable_size(kept.clear())} removed")
        return
    entries = kept.entries()
    for path, status in reversed(entries):
        days = age(status)
        used = "today" if days < 1 else f"{days:.0f} days ago"
        print(f"{readable_size(status.st_size):>10}  used {used}  {_describe(path)}")
    total = sum(status.st_size for _, status in entries)
    most = f", which takes at most {readable_size(kept.limit())}" if kept.folder.exists() else ""
    print(f"{readable_size(total)} in {place}{most}")


def _describe(path: Path) -> str:
    """What a file of the cache holds, in words."""
    try:
        file = RowFile(path)
    except (DamagedError, OSError):
        return f"{printable(path.name)}, damaged"
    made_with = json.dumps(file.about["made_with"])
    return f"{file.about['kind']} of {len(file.ids):,} images of {printable(file.about['source'])}  {made_with}"
