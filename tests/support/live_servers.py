"""Local servers of live video, for tests: they serve over 127.0.0.1 what a test hands to each connection."""

import contextlib
import re
import socketserver
import struct
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np

BOUNDARY = "frame"


@contextlib.contextmanager
def serving(*connections, content_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}"):
    """The address of a server. Connection k gets the chunks of `connections[k]`; later ones get that of the last.

    A connection that is None is refused (503).
    """
    numbers = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            numbers.append(len(numbers))
            chunks = connections[min(numbers[-1], len(connections) - 1)]
            if chunks is None:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client is gone
                for chunk in chunks():
                    self.wfile.write(chunk)
                    self.wfile.flush()

        def log_message(self, *_):
            pass

    with http_server(Handler) as address:
        yield f"{address}/live"


@contextlib.contextmanager
def http_server(handler):
    """The address of a server that answers by a handler, in threads of this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def jpeg_parts(num_frames, *, height=48, width=64, fps=50.0):
    """Frames as a camera serves them over HTTP, each at its time."""
    for number in range(num_frames):
        frame = np.full((height, width, 3), (number * 5) % 256, np.uint8)
        jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        yield head.encode() + jpeg + b"\r\n"
        time.sleep(1 / fps)


def paced(content, *, size=4096, seconds=0.01):
    """Bytes in pieces, with a pause after each."""
    for start in range(0, len(content), size):
        yield content[start : start + size]
        time.sleep(seconds)


SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=test
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track0
""".replace("\n", "\r\n")


def h264_units(frames, *, fps=25, gop=12):
    """(time stamp of 1/90000 s, NAL units) of each frame."""
    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = frames[0].shape[:2]
    codec.pix_fmt, codec.framerate, codec.time_base = "yuv420p", Fraction(fps), Fraction(1, fps)
    codec.options = {"tune": "zerolatency", "g": str(gop)}
    for number, frame in enumerate([*frames, None]):
        image = None if frame is None else av.VideoFrame.from_ndarray(frame, format="rgb24")
        if image is not None:
            image.pts = number
        for packet in codec.encode(image):
            units = [unit for unit in re.split(rb"\x00\x00\x00?\x01", bytes(packet)) if unit]
            yield packet.pts * 90_000 // fps, units


@contextlib.contextmanager
def serving_rtsp(frames, *, first=0, fps=50, per_connection=None):
    """The address of an RTSP server over TCP: each connection gets the frames from number `first` on, H.264 in RTP.

    After `per_connection` frames it closes the connection.
    """
    coded = [*h264_units(frames)][first:]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                while request := self.request_lines():
                    method, number = request[0].split()[0], next(x for x in request if x.lower().startswith("cseq"))
                    self.answer(method, number)
                    if method == "PLAY":
                        self.play()
                        return

        def request_lines(self):
            lines = []
            while line := self.rfile.readline().decode().strip():
                lines.append(line)
            return lines

        def answer(self, method, number):
            heads = {
                "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n",
                "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
            }
            body = SDP if method == "DESCRIBE" else ""
            head = f"RTSP/1.0 200 OK\r\n{number}\r\nSession: 1\r\n{heads.get(method, '')}\r\n"
            self.wfile.write((head + body).encode())

        def play(self):
            sequence = 0
            for stamp, units in coded[:per_connection]:
                for unit in units:
                    marker = 0x80 if unit is units[-1] else 0
                    packet = struct.pack(">BBHII", 0x80, marker | 96, sequence & 0xFFFF, stamp, 7) + unit
                    self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
                    sequence += 1
                time.sleep(1 / fps)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"rtsp://me:secret@127.0.0.1:{server.server_address[1]}/live"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
