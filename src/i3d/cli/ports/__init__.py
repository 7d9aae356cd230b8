"""The commands of the READMEs of the MindSpore and the Ascend port, on `i3d`.

    bash scripts/run_standalone_train.sh ./config/i3d_rgb.yaml ./i3d_rgb_kinetics400.ckpt    (in ports/mindspore)
    bash ./test/train_full_1p.sh --data_path=/data/xxx/                                      (in ports/ascend)

The scripts are a line each; arguments are parsed here. Configs are parsed as data and never executed.
"""
