"""From a video to its action: `Predictor`, many videos, two streams, tables of predictions."""
