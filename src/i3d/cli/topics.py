"""`i3d help`: the help of a command, and what i3d can and cannot do, topic by topic.

`TOPICS` is the table of the README too: `python -m i3d.cli.topics` prints it for a copy.
"""

import shutil
import textwrap
from typing import Annotated, Final, NamedTuple

from cyclopts import Parameter

from i3d.cli.options import INPUT
from i3d.cli.usage import command
from i3d.errors import InputError, abridged


class Topic(NamedTuple):
    """What users ask for: the command that does it, and what i3d does not do, with what does."""

    name: str
    here: str = ""
    elsewhere: str = ""


TOPICS: Final = (
    Topic("predict", "`i3d predict clip.mp4`: RGB, optical flow, two streams; `--annotate out.mp4` draws the labels"),
    Topic("own classes", "`i3d train --data clips/ --work-dir my`: one folder of clips for each class"),
    Topic("recipes", "`i3d train --recipe my.yaml --data clips.csv --work-dir run`: published settings; DDP, FSDP"),
    Topic("test", "`i3d test my --data clips.csv --report report.html`: any protocol, exact resume, reports"),
    Topic(
        "features",
        "`i3d features clip.mp4 --out features`: any layer, window, rate; HDF5; `--layout` of ActionFormer, OpenTAD",
    ),
    Topic("flow", "`i3d flow clip.mp4 --out flow`: TV-L1, DIS, Farneback", "learned flow: use RAFT of torchvision"),
    Topic(
        "two streams",
        "`i3d predict clip.mp4 --flow-model flow.safetensors`",
        "weights of flow: use those of pytorch-i3d or kinetics-i3d (`i3d convert`)",
    ),
    Topic(
        "networks",
        "`i3d models`: Inception-I3D; I3D-ResNet 18, 34, 50, 101, heavy, non-local; your own: CONTRIBUTING.md",
        "SlowFast, X3D, transformers: use MMAction2, PyTorchVideo, Hugging Face transformers",
    ),
    Topic("weights", "`i3d convert epoch_100.pth mine.safetensors`: those of MMAction2, DeepMind, MindSpore, timm"),
    Topic("addresses", "", "URLs, YouTube: use yt-dlp or curl, then `i3d predict clip.mp4`"),
    Topic(
        "camera",
        "`i3d stream 0`: cameras, pipes; addresses with `--allow-network`; lag and drops a second",
        "objects and tracking: use NVIDIA DeepStream",
    ),
    Topic(
        "when",
        "`i3d timeline clip.mp4 --out segments.csv`, `--annotate out.mp4` draws; features for other models",
        "networks trained to localise: use ActionFormer or OpenTAD",
    ),
    Topic("where", "", "who does what: use MMAction2 (AVA); objects: Ultralytics YOLO"),
    Topic("skeletons", "", "poses: use MMAction2's PoseC3D or PYSKL"),
    Topic("audio", "", "sound: use PANNs, or AST of Hugging Face transformers"),
    Topic("text", "", "search and classes by words: use X-CLIP of Hugging Face transformers"),
    Topic(
        "explain",
        "`i3d explain clip.mp4 --plot why.png`: map, curve; `i3d test my --data clips.csv --frame-order frozen`",
    ),
    Topic(
        "FVD",
        "`i3d fvd real/ generated/`: the network of the original, published protocols, control of motion",
        "VideoMAE instead of I3D: use cd-fvd",
    ),
    Topic(
        "export",
        "`i3d export my my.onnx`: ONNX, OpenVINO IR (.xml; `--int8`), torch.export (.pt2), all checked; `i3d convert`",
        "TensorRT: build an engine from the .onnx with NVIDIA's trtexec",
    ),
    Topic("model hub", "`i3d publish my out`: a folder with a model card, for i3d push (not tried online)"),
    Topic("server", "", "HTTP: use FastAPI with `i3d.Predictor`, or NVIDIA Triton"),
    Topic("web page", "`i3d test my --data clips.csv --report report.html`: a page of a test", "a demo: use Gradio"),
    Topic(
        "cluster",
        "`torchrun --nproc-per-node 8 -m i3d train ...`: several processes; several hosts, by `--nnodes`, are untested",
        "queues and retries: use Slurm or TorchX",
    ),
    Topic(
        "GPU",
        "`i3d predict clip.mp4 --device cuda --precision auto`; CUDA, MPS, NPU and fp16 are written and not tested",
    ),
    Topic("systems", "Linux on x86-64 is tested, macOS is not", "Windows: use WSL 2"),
    Topic("video files", "containers and codecs of FFmpeg within a list of formats, GIF, frame folders, arrays"),
)
ALL: Final = "topics"


def help_(
    *names: Annotated[str, Parameter(group=INPUT, help="topics, a topic, or a command.")],
) -> None:
    """Answer whether i3d can do something, or print the help of a command.

    `topics` prints what it can do, with the command, and what it cannot, with a tool that can.

    Examples:
      i3d help topics
      i3d help camera
      i3d help data preview
    """
    from i3d.cli.main import COMMANDS, app

    name = " ".join(names)
    known = {topic.name.lower(): topic for topic in TOPICS}
    if name == ALL:
        print("\n".join(_lines(topic) for topic in TOPICS))
        return
    is_command = not names or names[0] in {name for name, *_ in COMMANDS}
    if topic := known.get(name.lower()):
        print(_lines(topic), end="\n\n" if is_command else "\n")
    if is_command:
        app.resolved_commands()  # the help lists their summaries
        app.meta([*names, "--help"])
    elif not topic:
        raise InputError(f"{name}: is no topic and no command; topics are {abridged([*known], len(known))}")


def readme_table() -> str:
    """The table of the README."""
    rows = ["| | here | not here |", "|---|---|---|"]
    return "\n".join(
        [*rows, *(f"| {topic.name} | {topic.here} | {topic.elsewhere} |".replace("  ", " ") for topic in TOPICS)]
    )


def _lines(topic: Topic) -> str:
    """The answer as lines that fit the terminal."""
    text = "; ".join([*filter(None, [topic.here]), *(["not here: " + topic.elsewhere] if topic.elsewhere else [])])
    start = f"{topic.name:<12}"
    width = min(max(shutil.get_terminal_size().columns, 40), 120)
    lines = textwrap.wrap(
        text.replace("`", ""),
        width,
        initial_indent=start,
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


app = command(help_, "help")

if __name__ == "__main__":
    print(readme_table())
