"""When things happen in a video: scores of sliding windows, and segments of them."""
