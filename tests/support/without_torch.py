"""Run a script in a process that cannot import PyTorch or i3d: `python without_torch.py SCRIPT WORDS ...`."""

import runpy
import sys

BLOCKED = {"torch", "i3d"}


class Blocker:
    """A finder that refuses the blocked packages."""

    def find_spec(self, name, *_):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocker())
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
    assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
