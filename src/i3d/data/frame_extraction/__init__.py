"""Videos as folders of frames."""
