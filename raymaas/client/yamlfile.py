"""YAML files: their data, and on which line each field stands, so that a mistake can be named by its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raymaas.errors import InvalidInput

Place = tuple[str | int, ...]


def read_yaml(path: Path, places: dict[Place, str], *, start: str) -> Any:
    """The file's data; the line of each field goes into `places`.

    Raises InvalidInput naming the file and line, or, when there is no file, `start`: how to come by one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist; {start}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _note_places(root, (), places, str(path))
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInput(f"{path}, line {line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path}: not YAML: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{path}: nested too deeply, or an anchor contains itself") from None


def _note_places(node: yaml.Node | None, at: Place, places: dict[Place, str], source: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            below = (*at, str(key.value))
            # YAML keeps the last of two equal keys without a word.
            if below in places:
                raise InvalidInput(f"{source}, line {line}: {'.'.join(map(str, below))} is given twice")
            places[below] = f"line {line}"
            _note_places(value, below, places, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[*at, index] = f"line {item.start_mark.line + 1}"
            _note_places(item, (*at, index), places, source)
