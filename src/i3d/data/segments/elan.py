"""ELAN's annotation files (.eaf): one video, and a tier for each label. They hold no scores.

The label of an annotation is its value; of one without a value, the name of its tier.
"""

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element, SubElement

from i3d.data.segments.cues import MILLISECONDS
from i3d.data.segments.segment import Segment, SegmentFile, VideoSegments, segment_in
from i3d.errors import InputError, counted, first_line, printable

FORMAT: Final = "3.0"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA: Final = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
TIER_TYPE: Final = "default-lt"  # as ELAN names that of a new file
# The same segments are the same bytes, so the time of writing is none of them; the schema requires one.
DATE: Final = "2000-01-01T00:00:00+00:00"
MIME_TYPES: Final = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".mpg": "video/mpeg"}


def encode_elan(video: VideoSegments, *, folder: Path) -> bytes:
    """The annotations of one video. `folder`: of the file, to which the path of the video is relative in it."""
    ET.register_namespace("xsi", XSI)
    root = Element("ANNOTATION_DOCUMENT", AUTHOR="i3d", DATE=DATE, FORMAT=FORMAT, VERSION=FORMAT)
    root.set(f"{{{XSI}}}noNamespaceSchemaLocation", SCHEMA)
    header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    SubElement(header, "MEDIA_DESCRIPTOR", _media(video.video, folder))
    SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(len(video.segments))
    times = SubElement(root, "TIME_ORDER")
    slots = sorted({time for one in video.segments for time in (_milliseconds(one.start), _milliseconds(one.stop))})
    slot_of = {time: f"ts{number}" for number, time in enumerate(slots, start=1)}
    for time, name in slot_of.items():
        SubElement(times, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time))
    number = 0
    for label in dict.fromkeys(one.label for one in video.segments):
        tier = SubElement(root, "TIER", LINGUISTIC_TYPE_REF=TIER_TYPE, TIER_ID=label)
        for one in (one for one in video.segments if one.label == label):
            number += 1
            places = {
                "TIME_SLOT_REF1": slot_of[_milliseconds(one.start)],
                "TIME_SLOT_REF2": slot_of[_milliseconds(one.stop)],
            }
            inner = SubElement(
                SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}", **places}
            )
            SubElement(inner, "ANNOTATION_VALUE").text = label
    SubElement(root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=TIER_TYPE, TIME_ALIGNABLE="true")
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def merge_overlaps(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Overlapping segments of one label as one: ELAN refuses two annotations of a tier that overlap."""
    merged: list[Segment] = []
    last: dict[str, int] = {}
    for one in sorted(segments):
        before = merged[last[one.label]] if one.label in last else None
        if before is not None and one.start < before.stop:
            score = max(before.score, one.score)
            merged[last[one.label]] = Segment(before.start, max(before.stop, one.stop), one.label, score)
        else:
            last[one.label] = len(merged)
            merged.append(one)
    return tuple(merged)


def decode_elan(path: Path, text: str) -> SegmentFile:
    """The annotations with times of all tiers. What depends on another annotation is left out, which a note counts."""
    root = _parse(path, text)
    slots = {
        slot.get("TIME_SLOT_ID"): int(value) / MILLISECONDS
        for slot in root.iter("TIME_SLOT")
        if (value := slot.get("TIME_VALUE", "")).isdecimal()
    }
    segments, num_dependent, num_untimed, num_unnamed = [], len([*root.iter("REF_ANNOTATION")]), 0, 0
    for tier, one in _aligned(root):
        start, stop = slots.get(one.get("TIME_SLOT_REF1")), slots.get(one.get("TIME_SLOT_REF2"))
        value = one.findtext("ANNOTATION_VALUE") or ""
        if start is None or stop is None:
            num_untimed += 1
            continue
        num_unnamed += not value
        where = f"{path}: annotation {printable(one.get('ANNOTATION_ID', '?'))}"
        segments.append(segment_in(where, start, stop, value or tier))
    notes = []
    if num_dependent + num_untimed:
        notes.append(f"{counted(num_dependent + num_untimed, 'annotation')} without times of their own are left out")
    if num_unnamed:
        notes.append(f"{counted(num_unnamed, 'annotation')} without a value: the label is the name of the tier")
    return SegmentFile((VideoSegments(_video(path, root), tuple(segments)),), tuple(notes), of_players=True)


def _aligned(root: Element) -> Iterator[tuple[str, Element]]:
    for tier in root.iter("TIER"):
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            yield tier.get("TIER_ID", ""), one


def _parse(path: Path, text: str) -> Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: declares a document type or entities, which ELAN does not write; remove them")
    try:
        root = ET.fromstring(text)  # noqa: S314 (without a document type there are no entities)
    except (ET.ParseError, ValueError) as error:
        raise InputError(f"{path}: not XML ({first_line(error)}); save it again in ELAN") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{path}: its root is {printable(root.tag)}, not ANNOTATION_DOCUMENT; give a file of ELAN")
    header = root.find("HEADER")
    if header is not None and header.get("TIME_UNITS", "milliseconds") != "milliseconds":
        units = printable(header.get("TIME_UNITS", ""))
        raise InputError(f"{path}: its times are {units}; save it with milliseconds in ELAN")
    return root


def _media(video: str, folder: Path) -> dict[str, str]:
    path = Path(video).absolute()
    return {
        "MEDIA_URL": path.as_uri(),
        "MIME_TYPE": MIME_TYPES.get(path.suffix.lower(), "unknown"),
        "RELATIVE_MEDIA_URL": quote(f"./{PurePath(os.path.relpath(path, folder)).as_posix()}"),
    }


def _video(path: Path, root: Element) -> str:
    """The video of the file: relative to it where it states so, else by its name; of several, the first video."""
    listed = sorted(root.iter("MEDIA_DESCRIPTOR"), key=lambda one: not one.get("MIME_TYPE", "").startswith("video/"))
    for one in listed:
        if relative := one.get("RELATIVE_MEDIA_URL", ""):
            return unquote(relative).removeprefix("file:").removeprefix("./")
        if name := PurePath(unquote(one.get("MEDIA_URL", ""))).name:
            return name
    return path.stem


def _milliseconds(seconds: float) -> int:
    return round(seconds * MILLISECONDS)
