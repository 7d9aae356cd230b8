"""Read frames of a video by index, by time, and all of them at a rate.

python read_frames.py clip.mp4
"""

import sys

from i3d.video import open_video

with open_video(sys.argv[1]) as video:
    print(video.num_frames, "frames at", video.fps, "fps")
    print(video.frames_at([0, 5, 2]))  # in this order, with their times
    print(video.frames_at_seconds([0.0, 0.2]))
    print(sum(1 for _ in video.stream(fps=10)), "frames at 10 fps, in constant memory")
    print(video.notes)  # truncated? damaged?
