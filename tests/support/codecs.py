"""Short videos of every codec and GOP structure that PyAV encodes, in every container that takes them."""

import av

from support.rendering import encode, numbered_frame

X264 = "keyint=8:min-keyint=8:scenecut=0"
X265 = f"log-level=none:{X264}"
CODECS = {  # name: (encoder, options)
    "h264 closed": ("libx264", {"x264-params": f"{X264}:bframes=3"}),
    "h264 open": ("libx264", {"x264-params": f"{X264}:bframes=3:open-gop=1"}),
    "h264 plain": ("libx264", {"x264-params": f"{X264}:bframes=0"}),
    "h264 refresh": ("libx264", {"x264-params": "keyint=8:intra-refresh=1:bframes=0"}),
    "hevc closed": ("libx265", {"x265-params": f"{X265}:bframes=3:open-gop=0"}),
    "hevc open": ("libx265", {"x265-params": f"{X265}:bframes=3:open-gop=1"}),
    "mpeg4 b": ("mpeg4", {"bf": "2", "g": "8"}),
    "mpeg4 p": ("mpeg4", {"g": "8"}),
    "mpeg2 open": ("mpeg2video", {"bf": "2", "g": "8"}),
    "mpeg2 closed": ("mpeg2video", {"bf": "2", "g": "8", "flags": "+cgop", "sc_threshold": "1000000000"}),
    "mpeg1": ("mpeg1video", {"bf": "2", "g": "8"}),
    "vp8": ("libvpx", {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "10"}),
    "vp9": ("libvpx-vp9", {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "10"}),
    "av1": ("libsvtav1", {"g": "8", "preset": "12"}),
    "h263": ("h263p", {"g": "8"}),
    "flv1": ("flv", {"g": "8"}),
    "wmv2": ("wmv2", {"g": "8"}),
    "msmpeg4": ("msmpeg4", {"g": "8"}),
    "rv20": ("rv20", {"g": "8"}),
    "svq1": ("svq1", {"g": "8"}),
    "rpza": ("rpza", {"g": "8"}),
    "cinepak": ("cinepak", {"g": "8"}),
    "qtrle": ("qtrle", {"g": "8"}),
    "flashsv": ("flashsv", {"g": "8"}),
    "snow": ("snow", {"g": "8", "strict": "-2"}),
    "ffv1": ("ffv1", {"g": "8"}),
    "mjpeg": ("mjpeg", {}),
    "png": ("png", {}),
    "prores": ("prores_ks", {}),
    "gif": ("gif", {}),
    "huffyuv": ("huffyuv", {}),
    "utvideo": ("utvideo", {}),
}
CONTAINERS = {  # name: (muxer, options)
    "mp4": ("mp4", {}),
    "fragmented": ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
    "mov": ("mov", {}),
    "mkv": ("matroska", {}),
    "live mkv": ("matroska", {"live": "1"}),
    "webm": ("webm", {}),
    "avi": ("avi", {}),
    "ts": ("mpegts", {}),
    "ps": ("mpeg", {}),
    "flv": ("flv", {}),
    "asf": ("asf", {}),
    "ogg": ("ogg", {}),
    "nut": ("nut", {}),
    "ivf": ("ivf", {}),
    "mxf": ("mxf", {}),
    "rm": ("rm", {}),
    "wtv": ("wtv", {}),
    "swf": ("swf", {}),
    "gif": ("gif", {}),
    **{name: (name, {}) for name in ("h264", "hevc", "m4v", "mpeg2video", "mpeg1video", "mjpeg", "obu")},
}
# FFmpeg's muxers take these pairs, and its demuxers do not give the frames back.
BROKEN = {("mpeg1", "asf"), ("wmv2", "wtv"), ("mjpeg", "wtv"), ("ffv1", "wtv"), ("png", "swf"), ("utvideo", "wtv")}
TS_AND_PS = ("mpeg1", "mpeg2 open", "mpeg2 closed", "mpeg4 b", "mpeg4 p", "h264", "hevc")


def clips_of(codec, folder, **size):
    """Yield the path of the same clip in each container that takes the codec; the name ends in `.container`."""
    for container in CONTAINERS:
        path = clip_in(codec, container, folder, **size)
        if path is not None:
            yield path


def clip_in(codec, container, folder, *, num_frames=20, height=48, width=64):
    """The path of a clip; None if the container does not take the codec."""
    if (codec, container) in BROKEN or (container in ("ts", "ps") and not codec.startswith(TS_AND_PS)):
        return None
    (encoder, options), (muxer, settings) = CODECS[codec], CONTAINERS[container]
    frames = [numbered_frame(i, height=height, width=width) for i in range(num_frames)]
    path = folder / f"{codec}.{container}".replace(" ", "-")
    try:
        return encode(path, frames, codec=encoder, options=options, muxer=muxer, container=settings)
    except (av.error.FFmpegError, ValueError):
        path.unlink(missing_ok=True)
        return None
