"""Photographs as cameras write them: XMP packets, tables of EXIF, and files that carry both."""

import io

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

BASE, GPS, IFD = ExifTags.Base, ExifTags.GPS, ExifTags.IFD
ORIGINAL = "2024:01:23 17:27:45"
CALIBRATED = {
    "CalibratedFocalLength": "366.6",
    "CalibratedOpticalCenterX": "201.0",
    "CalibratedOpticalCenterY": "149.0",
}
DJI = {
    "AbsoluteAltitude": "+198.31",
    "RelativeAltitude": "+39.80",
    "GimbalRollDegree": "+0.00",
    "GimbalYawDegree": "+40.00",
    "GimbalPitchDegree": "-89.90",
    "FlightRollDegree": "+3.00",
    "FlightYawDegree": "-46.00",
    "FlightPitchDegree": "+1.80",
}


def packet(
    words: dict[str, str],
    *,
    prefix: str = "drone-dji",
    address: str = "http://www.dji.com/drone-dji/1.0/",
    as_elements: bool = False,
) -> bytes:
    if as_elements:
        attributes, elements = (
            "",
            "".join(
                f"<{prefix}:{name}>\n {value}\n</{prefix}:{name}>" for name, value in words.items()
            ),
        )
    else:
        attributes = "".join(f'\n  {prefix}:{name}="{value}"' for name, value in words.items())
        elements = ""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="DJI Meta Data" xmlns:{prefix}="{address}"'
        f'{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode() + b"\n" * 100


def make_exif(*, main: dict | None = None, photo: dict | None = None, gps: dict | None = None) -> Image.Exif:  # fmt: skip
    exif = Image.Exif()
    exif.update(main or {})
    exif.get_ifd(IFD.Exif).update(photo or {})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    return exif


def photo_of(
    *,
    kind: str = "JPEG",
    size: tuple[int, int] = (400, 225),
    xmp: bytes | None = None,
    exif: Image.Exif | None = None,
) -> bytes:
    sink, options = io.BytesIO(), {}
    if exif is not None:
        options["exif"] = exif
    if xmp is not None and kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp is not None and kind == "TIFF":
        options["tiffinfo"] = ImageFileDirectory_v2()
        options["tiffinfo"][700] = xmp
    elif xmp is not None:
        options["xmp"] = xmp
    Image.new("RGB", size, (90, 120, 60)).save(sink, kind, **options)
    return sink.getvalue()


def degrees(value: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    minutes = value % 1 * 60
    return (
        IFDRational(int(value)),
        IFDRational(int(minutes)),
        IFDRational(round(minutes % 1 * 60 * 10_000), 10_000),
    )


def gps_of(latitude: float, longitude: float, **changes) -> dict:
    tags = {
        GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
        GPS.GPSLatitude: degrees(abs(latitude)),
        GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
        GPS.GPSLongitude: degrees(abs(longitude)),
    }
    return {**tags, **{GPS[name]: value for name, value in changes.items()}}
