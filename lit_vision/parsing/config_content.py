"""Read configs: YAML files with options."""

from pathlib import Path
from typing import Any

import yaml

from lit_vision.errors import UserError


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key that stands twice in one mapping, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                place = f"line {key.start_mark.line + 1}"
                raise yaml.YAMLError(f"the key {key.value} stands twice, in {place} for the second time")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a config.

    Raises:
        UserError: the file is not YAML, is empty, or is not a config.
    """
    try:
        content = yaml.load(Path(path).read_text(), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML ({error}): correct the file, or set --config to another") from error
    if not isinstance(content, dict):
        empty = " (it is empty)" if content is None else ""
        raise UserError(f"{path} is not a config{empty}: set --config to a file with options, such as model and data")
    return content
