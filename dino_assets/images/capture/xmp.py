"""XMP packets: names and values that cameras and editors store as XML."""

import re
from xml.parsers import expat

MAX_XMP_BYTES = 2**20  # a packet of DJI has 4 KB; one segment of a JPEG holds 64 KB
# If a name occurs under several prefixes, these count before others (of Autel, of Parrot, or renamed).
_USUAL = frozenset({"tiff", "exif", "exifEX", "aux", "xmp", "drone-dji"})
# Names of these name spaces are stored with their prefix as well, because other name spaces use the plain
# names (Yaw, Roll) for light sensors.
_WHOLE_NAMES = {"Camera": "http://pix4d.com/camera", "sensefly": "http://ns.sensefly.com/"}
_NOT_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LOST = "\N{REPLACEMENT CHARACTER}"


def read_xmp(packet: bytes) -> dict[str, str]:
    """Read names and values of an XMP packet, from attributes and from elements.

    Names are returned without their prefix. Names of Pix4D and senseFly are returned with it as well:
    ``Camera:Yaw``. Only properties of the picture itself are read, because nested properties describe another
    picture, from which this one was made.

    Values with bytes that are not text are left out. A damaged packet is read up to the damage. A packet
    with a DOCTYPE is not read: XMP has none, and its entities could fill the memory.
    """
    packet = packet[:MAX_XMP_BYTES].strip(b"\0 \t\r\n")
    values, is_whole = _parse_xmp(packet)
    if is_whole:
        return values
    # DJI writes all values into one element, so one invalid byte in a serial number would lose all angles.
    text = packet.decode("utf-8", "replace")
    repaired, _ = _parse_xmp(_NOT_XML.sub(_LOST, text[max(text.find("<"), 0) :]))
    # A replaced character may have been a digit of a height, so values with such a character are left out.
    readable = {name: value for name, value in repaired.items() if _LOST not in value}
    return max(readable, values, key=len)


def _parse_xmp(packet: bytes | str) -> tuple[dict[str, str], bool]:
    """Parse names and values; return them, and whether the packet was valid to its end."""
    usual: dict[str, str] = {}
    others: dict[str, str] = {}
    texts: list[list[str]] = []
    tops: list[int] = []  # depth of the picture's description element, while inside it
    whole_names = {space: space for space in _WHOLE_NAMES}  # by prefix
    parser = expat.ParserCreate()

    def keep(name: str, value: str) -> None:
        prefix, _, word = name.rpartition(":")
        (usual if prefix in _USUAL else others).setdefault(word, value)
        if prefix in whole_names:
            others.setdefault(f"{whole_names[prefix]}:{word}", value)

    def refuse(*_: object) -> None:
        raise ValueError("a DOCTYPE in XMP")

    def start(name: str, attributes: dict[str, str]) -> None:
        texts.append([])
        for key, address in attributes.items():
            if key.startswith("xmlns:"):
                for space, beginning in _WHOLE_NAMES.items():
                    if address.startswith(beginning):
                        whole_names[key.removeprefix("xmlns:")] = space
        if not tops and name.rpartition(":")[2] == "Description":
            tops.append(len(texts))
            for key, value in attributes.items():
                if not key.startswith("xmlns"):
                    keep(key, value)

    def end(name: str) -> None:
        value = "".join(texts.pop()).strip()
        if tops and len(texts) == tops[0] and value:
            keep(name, value)
        elif tops and len(texts) < tops[0]:
            tops.clear()

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text) if texts else None
    try:
        parser.Parse(packet, True)
    except (expat.ExpatError, ValueError, LookupError):
        return others | usual, False
    return others | usual, True
