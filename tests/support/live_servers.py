"""Local servers of live video, for tests: they serve over 127.0.0.1 what a test hands to each connection."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live"
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
