"""PNG chunks, and the EXIF and XMP metadata in them, before or after the pixels."""

import zlib
from collections.abc import Iterator

from dino_assets.errors import UnusableImageError

MAX_TEXT_BYTES = 2**20  # Pillow's limit; a chunk of one kilobyte can hold a megabyte of zeros
_XMP = b"XML:com.adobe.xmp"
# ImageMagick and older exiftool write a block as hexadecimal text, under one of these names.
_RAW_EXIF = (b"Raw profile type exif", b"Raw profile type APP1")
_RAW_XMP = (b"Raw profile type xmp", b"Raw profile type APP1")
_EXIF_START, _XMP_START = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_PIXEL_KINDS = (b"IHDR", b"PLTE", b"IDAT")


def walk_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """List the kind of each complete chunk, and the start and size of its data."""
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            return
        kind = data[at + 4 : at + 8]
        yield kind, at + 8, size
        if kind == b"IEND":
            return
        at += 12 + size


def check_pixel_chunks(data: bytes) -> None:
    """Compare the chunks that pixels depend on with their checksums, which Pillow ignores.

    Raises:
        UnusableImageError: a checksum does not match; ``reason`` is undecodable.
    """
    view = memoryview(data)
    for kind, at, size in walk_chunks(data):
        if kind in _PIXEL_KINDS:
            stated = int.from_bytes(view[at + size : at + size + 4], "big")
            if zlib.crc32(view[at - 4 : at + size]) != stated:
                raise UnusableImageError(
                    "undecodable", f"checksum of {kind.decode()} at byte {at - 8:,} is wrong"
                )


def read_png_exif(data: bytes) -> bytes | None:
    """Read the EXIF block of a PNG; return None if it has none.

    The block is an ``eXIf`` chunk, or hexadecimal text in a text chunk (a raw profile).
    """
    for kind, at, size in walk_chunks(data):
        if kind == b"eXIf":
            return _EXIF_START + data[at : at + size]
    for _, text in _walk_texts(data, _RAW_EXIF):
        block = _parse_raw_profile(text)
        if block.startswith((_EXIF_START, *_TIFF_STARTS)):
            return block if block.startswith(_EXIF_START) else _EXIF_START + block
    return None


def read_png_xmp(data: bytes) -> bytes | None:
    """Read the XMP packet of a PNG; return None if it has none.

    The packet may follow the pixels, where exiftool writes it.
    """
    for name, text in _walk_texts(data, (_XMP, *_RAW_XMP)):
        if name == _XMP:
            return text
        block = _parse_raw_profile(text).removeprefix(_XMP_START)
        if block.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return block
    return None


def _walk_texts(data: bytes, names: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """List name and text of the text chunks whose name is in ``names``.

    Damaged texts, and those longer than ``MAX_TEXT_BYTES``, are left out.
    """
    for kind, at, size in walk_chunks(data):
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        name, _, rest = data[at : at + size].partition(b"\0")
        if name not in names:
            continue
        is_packed = kind == b"zTXt" or rest[:1] == b"\1"
        if kind == b"zTXt":
            rest = rest[1:]
        elif kind == b"iTXt":  # two bytes of flags, a language, the name in that language
            rest = b"".join(rest[2:].split(b"\0", 2)[2:])
        else:
            is_packed = False
        text = _unpack(rest) if is_packed else rest
        if text is not None and len(text) <= MAX_TEXT_BYTES:
            yield name, text


def _unpack(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, MAX_TEXT_BYTES + 1)
    except zlib.error:
        return None


def _parse_raw_profile(text: bytes) -> bytes:
    """Decode the bytes of a raw profile; a damaged one gives no bytes.

    A raw profile is a text of a name, the number of bytes, and the bytes as hexadecimal digits.
    """
    _, _, numbers = text.strip().partition(b"\n")
    count, _, digits = numbers.strip().partition(b"\n")
    try:
        return bytes.fromhex(digits.decode("ascii"))[: int(count)]
    except ValueError:
        return b""
