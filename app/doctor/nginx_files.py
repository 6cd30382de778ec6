"""nginx's files, read as nginx reads them: directives in blocks, with what they include."""

import re
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import NamedTuple, Optional

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<mark>[{};])|(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|(?P<word>(?!["'])(?:\\.|\$\{[^}]*\}|[^\s{};\\])+)""",
    re.DOTALL,
)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


class Directive(NamedTuple):
    """One directive: its name, its arguments, and what is inside it, None where it has no braces."""

    name: str
    arguments: list[str]
    inside: Optional["Block"] = None


class Block(list[Directive]):
    """What is between two braces, in its order."""

    def all(self, *names: str) -> Iterator[Directive]:
        """Yield the directives with one of these names."""
        return (directive for directive in self if directive.name in names)

    def get(self, name: str) -> list[str] | None:
        """Return the arguments of the last directive with this name, or None."""
        found = [directive.arguments for directive in self.all(name)]
        return found[-1] if found else None


class _Closed(Exception):
    """A brace ended the block."""


def read_files(path: Path) -> Block:
    """Return the file at ``path`` with all that it includes, as one block.

    Raises OSError where a file cannot be read, ValueError where it is none of nginx's.
    """
    return _read(path, path.parent)


def _read(path: Path, folder: Path) -> Block:
    tokens = _tokens(path)
    try:
        return _block(tokens, folder)
    except _Closed:
        raise ValueError(f"{path}: a brace too many") from None


def _tokens(path: Path) -> Iterator[str]:
    text, at = path.read_text(encoding="utf-8", errors="replace"), 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"{path}: a quote too many")
        at = found.end()
        if found.lastgroup == "quoted":
            yield " " + found[0][1:-1]  # so that a quoted brace is not one that ends a block
        elif found.lastgroup:
            yield found[0]


def _block(tokens: Iterator[str], folder: Path, *, is_inner: bool = False) -> Block:
    block, words = Block(), []
    for word in tokens:
        if word == "}":
            if is_inner:
                return block
            raise _Closed
        if word not in (";", "{"):
            words.append(word.removeprefix(" "))
            continue
        name, arguments, words = (words or [""])[0], words[1:], []
        if name == "include" and arguments and word == ";":
            for included in sorted(glob(str(folder / arguments[0]))):
                block += _read(Path(included), folder)
        else:  # the rows of a map are no directives, but look like them
            block.append(Directive(name, arguments, _block(tokens, folder, is_inner=True) if word == "{" else None))
    return block


def seconds(text: str) -> float:
    """Return a time of nginx such as ``10s``, ``1m 30s`` or ``500ms`` in seconds."""
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd]?)", text))


def size_bytes(text: str) -> int:
    """Return a size of nginx such as ``64k`` in bytes."""
    found = re.fullmatch(r"(\d+)([kmg]?)", text.lower())
    return int(found[1]) * _UNITS[found[2]] if found else 0
