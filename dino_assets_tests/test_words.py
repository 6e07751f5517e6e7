"""Plain words, as far as a machine can judge them: names that say nothing, and docstrings without a verb.

``python -m dino_assets_tests.test_words dino_assets/store`` lists what is to be reworded there.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets_tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "dino_assets"
# A name says what it holds, not that something was done to it.
VAGUE_NAMES = frozenset({
    "found", "said", "told", "known", "kept", "mine", "ours", "theirs", "heard", "handed",
    "meant", "thing", "things", "stuff",
})  # fmt: skip
# A function's first line begins with what it does: "List tiles …", not "The tiles …" or "Whether …".
NO_VERBS = frozenset({
    "a", "an", "the", "this", "these", "that", "those", "what", "whether", "where", "when",
    "how", "who", "whose", "which", "why", "all", "every", "each", "both", "some", "any", "no",
    "none", "one", "two", "only", "it", "its", "they", "their", "he", "she", "if", "as", "at",
    "by", "for", "from", "in", "of", "on", "to", "with", "without", "and", "or", "not", "but",
    "so", "such", "same",
})  # fmt: skip
# Code is no person.
PERSONIFYING = re.compile(r"\b(nobody's|somebody's|is told|are told|is heard|hears of|whoever)\b")
# Words that a reader whose first language is not English stumbles over: "is no JSON file", "made anew".
STILTED = re.compile(
    r"\b(anew|(?<!there )(is|are) no (?!longer|better|more|if|for)[\w`]+)\b",
    re.IGNORECASE,
)
MOST_WORDS = 30  # of a sentence


def find_faults(path: Path) -> Iterator[str]:
    """List what a file says badly, as ``line: what``."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _judge_names(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            yield from _judge_docstring(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for match in STILTED.finditer(" ".join(node.value.split())):
                yield f"{node.lineno}: {match[0]!r}"


def _judge_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    arguments = function.args
    for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        if each.arg in VAGUE_NAMES:
            yield f"{each.lineno}: argument `{each.arg}`"
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node.id in VAGUE_NAMES
        ):
            yield f"{node.lineno}: local name `{node.id}`"


def _judge_docstring(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module,
) -> Iterator[str]:
    text = ast.get_docstring(node)
    if not text:
        return
    line = getattr(node, "lineno", 1)
    summary = text.split("\n\n")[0].split("\nRaises:")[0]
    is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    first_word = re.match(r"\W*(\w+)", summary)
    if (
        is_function
        and not _is_noun_by_nature(node)
        and first_word
        and first_word[1].lower() in NO_VERBS
    ):
        yield f"{line}: no verb first in {summary.splitlines()[0]!r}"
    for sentence in split_sentences(text):
        if (count := len(sentence.split())) > MOST_WORDS:
            yield f"{line}: {count} words in {sentence[:60]!r}"
    if match := PERSONIFYING.search(text):
        yield f"{line}: {match[0]!r}"


def _is_noun_by_nature(node: ast.AST) -> bool:
    """Tell properties, fixtures and tests, which are described by nouns, from functions."""
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
    return (
        bool(re.search(r"property|fixture|setter|asset|sensor|schedule|check|resource", decorators))
        or node.name.startswith("test_")
        or node.name.startswith("__")
    )


def split_sentences(text: str) -> Iterator[str]:
    """Split prose into sentences; code blocks, tables and lists' items stand alone."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|\n\s*(?=[-*|>#]|\d+\.\s|    )", text):
        prose = " ".join(paragraph.split())
        yield from re.split(r"(?<=[.!?:;])\s+", prose)


ROOMS = sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name[0] != "_")


@pytest.mark.parametrize("room", [*ROOMS, ""])  # "": the modules at the top
def test_room__is_said_plainly(room: str):
    faults = [
        f"{path.relative_to(REPOSITORY)}:{fault}"
        for path in sorted((PACKAGE / room).rglob("*.py") if room else PACKAGE.glob("*.py"))
        for fault in find_faults(path)
    ]
    assert faults == []


# In a test, everything was done, seen or made; the name is the noun.
VAGUE_IN_TESTS = VAGUE_NAMES - {"kept", "ours", "theirs"} | {"done", "seen", "made", "asked", "got"}


def test_tests__locals_say_what_they_hold():
    assigned = re.compile(
        rf"\b({'|'.join(VAGUE_IN_TESTS)})\b[^\n]*( = | in )| as ({'|'.join(VAGUE_IN_TESTS)})\b"
    )
    suspects = {
        path: path.read_text()
        for path in sorted((REPOSITORY / "dino_assets_tests").rglob("*.py"))
        if assigned.search(path.read_text())
    }
    faults = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}: {node.id}"
        for path, text in suspects.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and node.id in VAGUE_IN_TESTS
    ]
    assert faults == []


def list_class_names(path: Path) -> Iterator[str]:
    """List the classes that a file defines, without subclasses that share their parent's name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            parents = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if node.name not in parents:
                yield node.name


def test_class_names__each_names_one_class_of_the_package():
    files: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in list_class_names(path):
            files.setdefault(name, []).append(str(path.relative_to(REPOSITORY)))
    assert {name: paths for name, paths in files.items() if len(paths) > 1} == {}


def main(*places: str) -> None:
    for place in map(Path, places):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            for fault in find_faults(path):
                print(f"{path}:{fault}")


if __name__ == "__main__":
    main(*sys.argv[1:])
