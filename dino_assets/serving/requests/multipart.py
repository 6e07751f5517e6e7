"""Multipart reader for a form with one file: in memory, never in a temporary file.

Starlette's own reader writes files above 1 MB to disk, and accepts a thousand fields.
"""

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dino_assets.serving.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE = "file"
MOST_FIELDS = 16
MOST_FIELD_BYTES = 1024
MOST_NAME_CHARACTERS = 255
_BROKEN = "the multipart form cannot be read: {}; send it as `curl -F file=@photo.jpg` does"


@dataclass
class Form:
    """A form's file and fields; ``data`` is None if it has no file."""

    filename: str = ""
    data: bytes | None = None
    fields: dict[str, str] = field(default_factory=dict)


def clean_name(filename: str) -> str:
    """Reduce a file name to its last part without unprintable characters."""
    name = re.split(r"[/\\]", filename)[-1]
    return "".join(each for each in name if each.isprintable())[:MOST_NAME_CHARACTERS]


class FormReader:
    """An incremental multipart parser that checks its limits with every piece."""

    def __init__(self, content_type: str) -> None:
        # Imported late: the package belongs to the extra `serve`.
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header

        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise Problem(
                "not-a-form",
                f"the content type is {content_type[:80]!r}, expected multipart/form-data; "
                "send the file as `curl -F file=@photo.jpg` does",
            )
        self._fault = FormParserError
        self._parse_options = parse_options_header
        self.form = Form()
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._name, self._sink, self._is_file = "", io.BytesIO(), False
        self._parts, self._is_ended = 0, False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(options.get(b"boundary", b""), callbacks)
        except FormParserError as err:
            raise Problem("malformed-body", _BROKEN.format(str(err)[:200])) from None
        if not options.get(b"boundary"):
            raise Problem("malformed-body", _BROKEN.format("the content type has no boundary"))

    def write(self, piece: bytes) -> None:
        """Parse the next piece of the body.

        Raises:
            Problem: malformed-body, unknown-field.
        """
        try:
            self._parser.write(piece)
        except self._fault as err:
            raise Problem("malformed-body", _BROKEN.format(str(err)[:200])) from None

    def finish(self) -> Form:
        """Return the form after its last piece.

        Raises:
            Problem: malformed-body; no-file.
        """
        if not self._is_ended:
            raise Problem("malformed-body", _BROKEN.format("the end is missing"))
        if self.form.data is None:
            raise Problem("no-file")
        return self.form

    def _begin_part(self) -> None:
        self._headers, self._header, self._value = {}, b"", b""
        self._parts += 1
        if self._parts > MOST_FIELDS:
            raise Problem("unknown-field", f"the form has more than {MOST_FIELDS} parts")

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _begin_data(self) -> None:
        _, options = self._parse_options(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise Problem("malformed-body", _BROKEN.format("a part has no name"))
        self._name = options[b"name"].decode(errors="replace")
        self._is_file = b"filename" in options
        self._sink = io.BytesIO()
        if self._is_file and (self._name != FILE or self.form.data is not None):
            detail = (
                "the form has two files; send one picture per request"
                if self._name == FILE
                else f"the file's field is {self._name[:80]!r}; {FILE!r} is expected"
            )
            raise Problem("unknown-field", detail)
        if not self._is_file and self._name == FILE:
            raise Problem(
                "no-file", f"the part {FILE!r} has no filename; send `curl -F file=@photo.jpg`"
            )
        if self._is_file:
            name = options[b"filename"].decode(errors="replace")
            self.form.filename = clean_name(name)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file and self._sink.tell() + end - start > MOST_FIELD_BYTES:
            raise Problem(
                "unknown-field",
                f"the field {self._name[:80]!r} has more than {MOST_FIELD_BYTES} bytes",
            )
        self._sink.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        if self._is_file:
            self.form.data = self._sink.getvalue()  # shares the buffer: no second copy
            return
        if self._name in self.form.fields:
            raise Problem("unknown-field", f"the field {self._name[:80]!r} is given twice")
        self.form.fields[self._name] = self._sink.getvalue().decode(errors="replace")

    def _end(self) -> None:
        self._is_ended = True
