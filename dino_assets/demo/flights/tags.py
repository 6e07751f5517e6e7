"""Metadata as a DJI camera writes it: EXIF and the ``drone-dji`` XMP packet."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from dino_assets.demo.flights.camera import Camera

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="DJI Meta Data"
    xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"
{attributes}>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


@dataclass(frozen=True)
class Exposure:
    """One release of the shutter: time, position (WGS 84, metres above sea and take-off), angles."""

    name: str
    taken: datetime
    latitude_deg: float
    longitude_deg: float
    elevation_m: float
    altitude_m: float
    yaw_deg: float
    flight_roll_deg: float
    flight_pitch_deg: float


def write_exif(camera: Camera, capture: Exposure) -> Image.Exif:
    """Write the EXIF block of a picture taken straight down, Orientation 1."""
    base, photo, gps = ExifTags.Base, ExifTags.IFD.Exif, ExifTags.GPS
    stamp = capture.taken.strftime("%Y:%m:%d %H:%M:%S")
    exif = Image.Exif()
    exif[base.ImageDescription] = f"DCIM\\100MEDIA\\{capture.name}"
    exif[base.Make] = "DJI"
    exif[base.Model] = "FC300S"
    exif[base.Orientation] = 1
    # So that the picture is not mistaken for a photograph.
    exif[base.Software] = "drawn by dino_assets.demo.flights"
    exif[base.DateTime] = stamp
    exif.get_ifd(photo).update(
        {
            base.ExposureTime: IFDRational(1, 640),
            base.FNumber: IFDRational(28, 10),
            base.ExposureProgram: 2,
            base.ISOSpeedRatings: 100,
            base.ExifVersion: b"0230",
            base.DateTimeOriginal: stamp,
            base.DateTimeDigitized: stamp,
            base.FocalLength: _rational(camera.focal_mm, 100),
            base.ExifImageWidth: camera.width_px,
            base.ExifImageHeight: camera.height_px,
            # DJI omits these; with them, a pixel's ground size needs no table of sensors.
            base.FocalPlaneXResolution: _rational(camera.width_px / camera.sensor_width_mm, 1000),
            base.FocalPlaneYResolution: _rational(camera.width_px / camera.sensor_width_mm, 1000),
            base.FocalPlaneResolutionUnit: 4,  # millimetres
            base.FocalLengthIn35mmFilm: 20,
        }
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            gps.GPSVersionID: b"\x02\x03\x00\x00",
            gps.GPSLatitudeRef: "N" if capture.latitude_deg >= 0 else "S",
            gps.GPSLatitude: _sexagesimal(capture.latitude_deg),
            gps.GPSLongitudeRef: "E" if capture.longitude_deg >= 0 else "W",
            gps.GPSLongitude: _sexagesimal(capture.longitude_deg),
            gps.GPSAltitudeRef: b"\x00",
            gps.GPSAltitude: _rational(capture.elevation_m, 1000),
            gps.GPSMapDatum: "WGS-84",
        }
    )
    return exif


def _rational(value: float, parts: int) -> IFDRational:
    return IFDRational(round(value * parts), parts)


def _sexagesimal(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Convert degrees to whole degrees, minutes, and seconds with four decimals (3 mm on the ground)."""
    whole = Fraction(round(abs(degrees) * 36_000_000), 10_000)
    minutes, seconds = divmod(whole, 60)
    return (
        IFDRational(minutes // 60, 1),
        IFDRational(minutes % 60, 1),
        IFDRational(round(seconds * 10_000), 10_000),
    )


def write_xmp(capture: Exposure) -> bytes:
    """Write the XMP packet in DJI's format: numbers have a sign, and two decimals except for the position."""
    day = capture.taken.strftime("%Y-%m-%d")
    attributes = {
        "xmp:ModifyDate": day,
        "xmp:CreateDate": day,
        "tiff:Make": "DJI",
        "tiff:Model": "FC300S",
        "dc:format": "image/jpeg",
        "drone-dji:AbsoluteAltitude": f"{capture.elevation_m:+.2f}",
        "drone-dji:RelativeAltitude": f"{capture.altitude_m:+.2f}",
        "drone-dji:GpsLatitude": f"{capture.latitude_deg:+.9f}",
        "drone-dji:GpsLongitude": f"{capture.longitude_deg:+.9f}",
        "drone-dji:GimbalRollDegree": "+0.00",
        "drone-dji:GimbalYawDegree": f"{capture.yaw_deg:+.2f}",
        "drone-dji:GimbalPitchDegree": "-90.00",
        "drone-dji:FlightRollDegree": f"{capture.flight_roll_deg:+.2f}",
        "drone-dji:FlightYawDegree": f"{capture.yaw_deg:+.2f}",
        "drone-dji:FlightPitchDegree": f"{capture.flight_pitch_deg:+.2f}",
        "crs:Version": "7.0",
        "crs:HasSettings": "False",
        "crs:HasCrop": "False",
        "crs:AlreadyApplied": "False",
    }
    lines = "\n".join(f'   {name}="{value}"' for name, value in attributes.items())
    return _PACKET.format(attributes=lines).encode()
