"""`python -m i3d`, and `torchrun ... -m i3d`."""

from i3d.cli.main import start

if __name__ == "__main__":
    start()
