"""Configs with the structure of MMAction2's, written for these tests: six of 1.x on their bases, and some of 0.x."""

from textwrap import dedent

IMAGENET = "mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]"
BACKBONE = """type='ResNet3d', pretrained2d=True, pretrained='torchvision://resnet50', depth=50,
        conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2, conv_cfg=dict(type='Conv3d'), norm_eval=False,
        inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)), zero_init_residual=False"""
HEAD = "type='I3DHead', num_classes=400, in_channels=2048, spatial_type='avg', dropout_ratio=0.5, init_std=0.01"
NON_LOCAL = """non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
        non_local_cfg=dict(sub_sample=True, use_scale=False, norm_cfg=dict(type='BN3d', requires_grad=True),
                           mode='{mode}')"""
NAME_1 = "i3d_imagenet-pretrained-r50{}_8xb8-{}32x2x1-100e_kinetics400-rgb"
PLAIN_1, DOT_1 = NAME_1.format("", ""), NAME_1.format("-nl-dot-product", "")

MODEL_1 = f"""\
# model
model = dict(
    type='Recognizer3D',
    backbone=dict({BACKBONE}),
    cls_head=dict({HEAD}, average_clips='prob'),
    data_preprocessor=dict(type='ActionDataPreprocessor', {IMAGENET}, format_shape='NCTHW'))
"""
SCHEDULE_1 = """\
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_begin=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=100, by_epoch=True, milestones=[40, 80], gamma=0.1)
]
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=40, norm_type=2))
"""
RUNTIME_1 = """\
default_scope = 'mmaction'
default_hooks = dict(
    timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'))
env_cfg = dict(cudnn_benchmark=False, dist_cfg=dict(backend='nccl'))
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
"""


def data_1(sampler="SampleFrames", num_clips=10):
    """Data of a 1.x config: three pipelines of videos."""
    return f"""\
dataset_type = 'VideoDataset'
data_root = 'data/kinetics400/videos_train'
data_root_val = 'data/kinetics400/videos_val'
ann_file_train = 'data/kinetics400/kinetics400_train_list_videos.txt'
ann_file_val = 'data/kinetics400/kinetics400_val_list_videos.txt'
file_client_args = dict(io_backend='disk')
packed = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
train_pipeline = [
    dict(type='DecordInit', **file_client_args),
    dict(type='{sampler}', clip_len=32, frame_interval=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.8), random_crop=False, max_wh_scale_gap=0),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
] + packed
val_pipeline = [
    dict(type='DecordInit', **file_client_args),
    dict(type='{sampler}', clip_len=32, frame_interval=2, num_clips=1, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
] + packed
test_pipeline = [
    dict(type='DecordInit', **file_client_args),
    dict(type='{sampler}', clip_len=32, frame_interval=2, num_clips={num_clips}, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
] + packed
train_dataloader = dict(
    batch_size=8, num_workers=8, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, ann_file=ann_file_train, data_prefix=dict(video=data_root),
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, num_workers=8, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, ann_file=ann_file_val, data_prefix=dict(video=data_root_val),
                 pipeline=val_pipeline, test_mode=True))
test_dataloader = dict(
    batch_size=1, num_workers=8, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, ann_file=ann_file_val, data_prefix=dict(video=data_root_val),
                 pipeline=test_pipeline, test_mode=True))
"""


def write_configs_1(root):
    """Write the six configs of 1.x and their bases below `root`; return {name: path}."""
    bases = "_base_ = ['../../_base_/models/i3d_r50.py', '../../_base_/sgd.py', '../../_base_/runtime.py']\n"
    rest = """\
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=5))
auto_scale_lr = dict(enable=False, base_batch_size=64)
"""

    def non_local(mode, settings="non_local_cfg=dict(mode='{mode}')"):
        return f"model = dict(backbone=dict({settings.format(mode=mode)}))\n"

    on_dot = (
        "_base_ = ['i3d_imagenet-pretrained-r50-nl-dot-product_' +\n          '8xb8-32x2x1-100e_kinetics400-rgb.py']\n"
    )
    on_plain = f"_base_ = ['./{PLAIN_1}.py']\n"
    heavy = "model = dict(backbone=dict(inflate=(1, 1, 1, 1), conv1_stride_t=1, pool1_stride_t=1, with_pool2=True))\n"
    texts = {
        PLAIN_1: bases + data_1() + rest,
        NAME_1.format("", "dense-"): on_plain + data_1("DenseSampleFrames", 1),
        NAME_1.format("-heavy", ""): on_plain + heavy,
        DOT_1: bases + non_local("dot_product", NON_LOCAL) + data_1() + rest,
        NAME_1.format("-nl-gaussian", ""): on_dot + non_local("gaussian"),
        NAME_1.format("-nl-embedded-gaussian", ""): on_dot + non_local("embedded_gaussian"),
    }
    folder = root / "recognition" / "i3d"
    for path, text in [("models/i3d_r50.py", MODEL_1), ("sgd.py", SCHEDULE_1), ("runtime.py", RUNTIME_1)]:
        (root / "_base_" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "_base_" / path).write_text(text)
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return {name: folder / f"{name}.py" for name in texts}


def config_0(
    *,
    frames=True,
    sampler="SampleFrames",
    clip="clip_len=32, frame_interval=2",
    num_clips=10,
    lazy="",
    flip="dict(type='Flip', flip_ratio=0.5{lazy})",
    backbone=BACKBONE,
    data="",
    more="",
):
    """A config of 0.x without bases."""
    kind, decode = ("rawframes", "RawFrameDecode") if frames else ("videos", "DecordDecode")
    init = "" if frames else "dict(type='DecordInit'),\n    "
    fuse = "dict(type='Fuse'),\n    " if lazy else ""
    return dedent(f"""\
model = dict(
    type='Recognizer3D',
    backbone=dict({backbone}),
    cls_head=dict({HEAD}))
train_cfg = None
test_cfg = dict(average_clips=None)
dataset_type = '{"RawframeDataset" if frames else "VideoDataset"}'
img_norm_cfg = dict({IMAGENET}, to_bgr=False)
mc_cfg = dict(sys_path='/mnt/lustre')
ann_file_val = 'data/kinetics400/kinetics400_val_list_{kind}.txt'
ann_file_test = ann_file_val
train_pipeline = [
    {init}dict(type='{sampler}', {clip}, num_clips=1),
    dict(type='{decode}'),
    dict(type='Resize', scale=(-1, 256){lazy}),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.8), random_crop=False, max_wh_scale_gap=0{lazy}),
    dict(type='Resize', scale=(224, 224), keep_ratio=False{lazy}),
    {flip.format(lazy=lazy)},
    {fuse}dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs', 'label'])
]
val_pipeline = [
    {init}dict(type='{sampler}', {clip}, num_clips=1, test_mode=True),
    dict(type='{decode}'),
    dict(type='Resize', scale=(-1, 256){lazy}),
    dict(type='CenterCrop', crop_size=224{lazy}),
    dict(type='Flip', flip_ratio=0{lazy}),
    {fuse}dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
]
test_pipeline = [
    {init}dict(type='{sampler}', {clip}, num_clips={num_clips}, test_mode=True),
    dict(type='{decode}'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
]
data = dict(
    videos_per_gpu=8, workers_per_gpu=4,
    train=dict(type=dataset_type, ann_file='data/kinetics400/kinetics400_train_list_{kind}.txt',
               data_prefix='data/kinetics400/{kind}_train', pipeline=train_pipeline{data}),
    val=dict(type=dataset_type, ann_file=ann_file_val, data_prefix='data/kinetics400/{kind}_val',
             pipeline=val_pipeline{data}),
    test=dict(type=dataset_type, ann_file=ann_file_val, data_prefix='data/kinetics400/{kind}_val',
              pipeline=test_pipeline{data}))
optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001)  # for 8 gpus
optimizer_config = dict(grad_clip=dict(max_norm=40, norm_type=2))
lr_config = dict(policy='step', step=[40, 80])
total_epochs = 100
checkpoint_config = dict(interval=5)
evaluation = dict(interval=5, metrics=['top_k_accuracy', 'mean_class_accuracy'], topk=(1, 5))
log_config = dict(interval=20, hooks=[dict(type='TextLoggerHook')])
dist_params = dict(backend='nccl')
log_level = 'INFO'
load_from = None
resume_from = None
workflow = [('train', 1)]
""") + dedent(more)


EARLY = BACKBONE.replace("conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2, ", "")  # until 0.13
IMGAUG = """dict(type='Imgaug', transforms=[
        dict(type='Fliplr', p=0.5), dict(type='Rotate', rotate=(-20, 20)), dict(type='Dropout', p=(0, 0.05))])"""
HEAVY = EARLY.split("inflate")[0] + "inflate=(1, 1, 1, 1), conv1_stride_t=1, pool1_stride_t=1, zero_init_residual=False"
CONFIGS_0 = {
    "i3d_r50_32x2x1_100e_kinetics400_rgb": config_0(),
    "i3d_r50_video_32x2x1_100e_kinetics400_rgb": config_0(frames=False, backbone=EARLY),
    "i3d_r50_video_imgaug_32x2x1_100e_kinetics400_rgb": config_0(frames=False, flip=IMGAUG),
    "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb": config_0(lazy=", lazy=True"),
    "i3d_r50_dense_32x2x1_100e_kinetics400_rgb": config_0(sampler="DenseSampleFrames", num_clips=1),
    "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb": config_0(clip="clip_len=8, frame_interval=8", backbone=HEAVY),
    "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb": config_0(
        backbone=f"{BACKBONE}, {NON_LOCAL.format(mode='gaussian')}"
    ),
    "i3d_r50_video_32x2x1_100e_kinetics400_rgb_o1": config_0(frames=False, more="fp16 = dict(loss_scale=128.)\n"),
}


def dumped(table, version, **more):
    """A config as a run writes it into its folder: all bases merged, keys sorted (1.x), and what the run added."""
    beside = DUMPED[version] | more
    keys = sorted(table.keys() | beside.keys()) if version else [*table, *(beside.keys() - table.keys())]
    return "".join(f"{key} = {_code(beside.get(key, table.get(key)))}\n" for key in keys)


class _Code(str):
    """Python that stands in a dump as it is."""


def _code(value):
    match value:
        case _Code():
            return value
        case dict():
            if all(key.isidentifier() for key in value):
                return f"dict({', '.join(f'{key}={_code(item)}' for key, item in value.items())})"
            return f"{{{', '.join(f'{key!r}: {_code(item)}' for key, item in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_code, value))}]"
    return repr(value)


DUMPED = (
    {"gpu_ids": _Code("range(0, 8)"), "omnisource": False, "module_hooks": [], "work_dir": "./work_dirs/a",
     "opencv_num_threads": 0, "mp_start_method": "fork", "checkpoint_config": {"interval": 5, "meta": None}},
    {"randomness": {"deterministic": False, "diff_rank_seed": False, "seed": None}, "launcher": "none",
     "work_dir": "./work_dirs/a", "resume": False, "log_level": "INFO", "default_scope": "mmaction",
     "visualizer": {"type": "ActionVisualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
     "default_hooks": {
         "checkpoint": {"interval": 5, "max_keep_ckpts": 3, "save_best": "auto", "type": "CheckpointHook"},
         "logger": {"ignore_last": False, "interval": 20, "type": "LoggerHook"},
         "param_scheduler": {"type": "ParamSchedulerHook"}, "runtime_info": {"type": "RuntimeInfoHook"},
         "sampler_seed": {"type": "DistSamplerSeedHook"}, "sync_buffers": {"type": "SyncBuffersHook"},
         "timer": {"type": "IterTimerHook"}, "visualization": {"type": "VisualizationHook"}},
     "env_cfg": {"cudnn_benchmark": False, "dist_cfg": {"backend": "nccl"},
                 "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}},
     "log_processor": {"by_epoch": True, "type": "LogProcessor", "window_size": 20}},
)  # fmt: skip
