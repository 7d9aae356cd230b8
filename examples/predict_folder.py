"""Print the action in each video of a folder as it is computed, and write a table.

python predict_folder.py clips/ actions.csv
"""

import sys

import i3d

folder, table = sys.argv[1:]
rows = []
for prediction in i3d.predict_many(folder, top_k=3):
    print(prediction.path, prediction)  # a video that cannot be read has an error instead of classes
    rows.append(prediction)
i3d.Predictions(rows).to_csv(table)
