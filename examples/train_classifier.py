"""Train a classifier of your own classes: one folder of videos for each.

python train_classifier.py actions/ run/
"""

import sys
from pathlib import Path

import i3d

folder, work_dir = map(Path, sys.argv[1:])
result = i3d.finetune(i3d.data.read_annotations(folder), work_dir=work_dir)
print(*result.diagnosis, sep="\n")
print(i3d.predict([folder], model=result.model))
