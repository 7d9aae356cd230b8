"""The commands of MMAction2, such as `tools/train.py`, with the flags of 0.x and 1.x.

    python tools/train.py configs/recognition/i3d/NAME.py --work-dir W --validate --seed 0 --deterministic
    python tools/test.py configs/recognition/i3d/NAME.py epoch_100.pth --eval top_k_accuracy --out result.json

A config is parsed as data and never executed. If there is no such file, the published recipe NAME is used.
"""
