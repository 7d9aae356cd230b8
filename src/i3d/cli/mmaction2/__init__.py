"""Doors for commands that people know from MMAction2: `tools/train.py` and its like, in the spellings of 0.x and 1.x.

    python tools/train.py configs/recognition/i3d/NAME.py --work-dir W --validate --seed 0 --deterministic
    python tools/test.py configs/recognition/i3d/NAME.py epoch_100.pth --eval top_k_accuracy --out result.json

A config is parsed as data and never executed; if there is no such file, it is the published recipe NAME.
"""
