"""Hook of MkDocs that replaces links to files outside ``docs/`` by the files' paths."""

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Show a path of the repository, such as ``deploy/README.md``, in place of a link to it."""
    docs = Path(config["docs_dir"]).resolve()
    here = Path(page.file.abs_src_path).parent

    def show(link: re.Match[str]) -> str:
        target = (here / link[2].partition("#")[0]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        path = f"`{target.relative_to(docs.parent)}`"
        return path if link[1] == path else f"{link[1]} ({path})"

    return _LINK.sub(show, markdown)
