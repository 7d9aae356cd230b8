"""The flow of videos in training, testing and prediction: computed once, cached, and the same everywhere."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i3d.data.content import content_digest
from i3d.data.formats.read import read_annotations
from i3d.data.loading import flow_cache as computed_flow
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.preprocess import flow_at
from i3d.data.pack import pack_dataset
from i3d.evaluation.evaluate import evaluate_protocols
from i3d.evaluation.scoring import softmax
from i3d.inference.predictor import Predictor
from i3d.inference.two_stream import TwoStreams
from i3d.recipes.augmentation import Augmentation, TrainSampling
from i3d.recipes.settings import ClipProtocol, Preprocessing
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.video.container import ContainerVideo
from i3d.video.flow import flow_between, flow_to_bytes
from i3d.video.reader import open_video
from i3d.video.transforms import center_crop
from support import evaluation_runs, training_runs
from support.commands import run_here
from support.evaluation_runs import CLIPS, WINDOWS, save_model
from support.rendering import encode, numbered_frame, render
from support.resizing import resize_short_side

PRE = Preprocessing(short_side=32, crop=32, mean=(127.5, 127.5), std=(60.0, 60.0))
PLAIN = Augmentation(resize=32, size=32, flip=0, crop={"kind": "center"})
ONE = ClipProtocol(clip_len=6, frame_interval=2, num_clips=1, crops="center")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A video, listed whole and from 0.4 to 0.8 s."""
    root = tmp_path_factory.mktemp("clips")
    encode(root / "a.mp4", [numbered_frame(3 * k, height=36, width=48) for k in range(26)], fps=25)
    (root / "clips.csv").write_text("path,label,start,end\na.mp4,x,,\na.mp4,y,0.4,0.8\n")
    return root


@pytest.fixture
def cached_flow(tmp_path):
    return ClipFlow("dis", 32, Cache(tmp_path / "cache"))


def by_hand(path, first, stop, *, fps=None):
    """The flow (T, H, W, 2) that leads to each frame of a part."""
    with open_video(path) as video:
        frames = list(video.stream(fps=fps, between=(first, stop)))
    small = resize_short_side(np.stack(frames), short_side=32)
    flows = [flow_to_bytes(flow_between(a, b, method="dis")) for a, b in zip(small, small[1:], strict=False)]
    return np.stack([flows[0], *flows])


def files_in(flow):
    return sorted(flow.cache.folder.rglob("*.mkv"))


@pytest.mark.parametrize(("index", "part"), [(0, (0, 26)), (1, (10, 20))])
def test_clips_are_the_flow_to_their_frames(clips, cached_flow, index, part):
    annotations, flows = read_annotations(clips / "clips.csv"), by_hand(clips / "a.mp4", *part)
    view = TrainView(TrainSampling(clip_len=6, frame_interval=1), PLAIN)
    rgb = ClipDataset(annotations, view, seed=4)[2, index].clips_NVTHWC[0, 0].numpy()
    flow = ClipDataset(annotations, view, seed=4, flow=cached_flow)[2, index].clips_NVTHWC[0, 0].numpy()
    with open_video(clips / "a.mp4") as video:
        frames = resize_short_side(np.stack(list(video.stream())), short_side=32)
    shown = [next(k for k, f in enumerate(frames) if np.array_equal(center_crop(f[None], size=32)[0], x)) for x in rgb]
    assert np.array_equal(flow, center_crop(flows[np.array(shown) - part[0]], size=32))
    tested = ClipDataset(annotations, TestView(ONE, PRE), flow=cached_flow)[0, index].views_N[0].clips()[0].numpy()
    assert tested.shape == (6, 32, 32, 2)
    assert len(files_in(cached_flow)) == 1  # both read the same


def test_windows_are_the_flow_between_the_frames_at_their_rate(clips, cached_flow):
    flows = by_hand(clips / "a.mp4", 0, 26, fps=20)
    dataset = ClipDataset(read_annotations(clips / "clips.csv"), TestView(WINDOWS, PRE), flow=cached_flow)
    views = dataset[0, 0].views_N[0]
    whole = np.concatenate([views.clips(number, number + 1)[0].numpy() for number in views.groups[0]])
    assert np.array_equal(whole, center_crop(flows, size=32))


def test_flow_is_computed_once_and_cached_by_content(clips, cached_flow, tmp_path, monkeypatch):
    view = TestView(ONE, PRE, (WINDOWS,))
    first = ClipDataset(read_annotations(clips / "clips.csv"), view, flow=cached_flow)[0, 0].views_N[0]
    assert len(files_in(cached_flow)) == 2  # of native frames, and at 20 fps
    monkeypatch.setattr(computed_flow, "consecutive_flows", lambda *_, **__: pytest.fail("computed again"))
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "b.mp4").write_bytes((clips / "a.mp4").read_bytes())
    (tmp_path / "moved" / "clips.csv").write_text("path,label\nb.mp4,x\n")
    moved = read_annotations(tmp_path / "moved" / "clips.csv")
    again = ClipDataset(moved, view, flow=cached_flow)[0, 0].views_N[0]
    assert torch.equal(first.frames_DHWC, again.frames_DHWC)
    monkeypatch.undo()
    pack_dataset(moved, tmp_path / "packed")
    packed = ClipDataset(read_annotations(tmp_path / "packed"), view, flow=cached_flow)[0, 0].views_N[0]
    assert torch.equal(first.frames_DHWC, packed.frames_DHWC)


@pytest.mark.parametrize("damage", ["cut", "zeros", "bit"])
def test_damaged_flow_is_computed_again(clips, cached_flow, damage, caplog):
    dataset = ClipDataset(read_annotations(clips / "clips.csv"), TestView(WINDOWS, PRE), flow=cached_flow)
    first = dataset[0, 0].views_N[0]
    (path,) = files_in(cached_flow)
    content = path.read_bytes()
    wrong = bytearray(content)
    wrong[len(content) // 2] ^= 4
    path.write_bytes({"cut": content[: len(content) // 2], "zeros": bytes(len(content)), "bit": bytes(wrong)}[damage])
    assert torch.equal(dataset[0, 0].views_N[0].frames_DHWC, first.frames_DHWC)
    assert path.read_bytes() == content
    assert f"{path}: damaged since it was cached; the flow is computed again" in caplog.text


def test_a_cache_that_cannot_be_written_is_an_error(clips, tmp_path):
    (tmp_path / "file").write_text("")
    cached_flow = ClipFlow("dis", 32, Cache(tmp_path / "file"))
    dataset = ClipDataset(read_annotations(clips / "clips.csv"), TestView(WINDOWS, PRE), flow=cached_flow)
    with pytest.raises(Exception, match=r"the computed flow cannot be written .*--cache"):
        dataset[0, 0]


STRETCHED = CLIPS.model_copy(update={"target_fps": 15.0})


def test_flow_is_between_frames_at_the_rate_of_the_clips(clips, cached_flow):
    """Of 25 frames a second, at 12.5: it leads from the frame before the last one."""
    annotations = read_annotations(clips / "clips.csv")
    flows = by_hand(clips / "a.mp4", 0, 26, fps=12.5)
    assert len(flows) == 13
    slow = ONE.model_copy(update={"frame_interval": 1, "target_fps": 12.5})
    flow = ClipDataset(annotations, TestView(slow, PRE), flow=cached_flow)[0, 0].views_N[0].clips()[0].numpy()
    places = [k for k in range(8) if np.array_equal(flow, center_crop(flows[k : k + 6], size=32))]
    assert len(places) == 1
    view = TrainView(TrainSampling(clip_len=6, frame_interval=1, target_fps=12.5), PLAIN)
    drawn = ClipDataset(annotations, view, seed=4, flow=cached_flow)[2, 0].clips_NVTHWC[0, 0].numpy()
    assert any(np.array_equal(drawn, center_crop(flows[k : k + 6], size=32)) for k in range(8))
    both = ClipDataset(annotations, TestView(slow, PRE, (ONE, WINDOWS)), flow=cached_flow)[0, 0].views_N[0]
    assert np.array_equal(both.clips(0, 1)[0].numpy(), flow)
    alone = ClipDataset(annotations, TestView(ONE, PRE), flow=cached_flow)[0, 0].views_N[0].clips()[0]
    assert torch.equal(both.clips(1, 2)[0], alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "protocol"),
    [("dis", CLIPS), ("farneback", STRETCHED), ("dis", WINDOWS)],
    ids=["clips", "stretched", "windows"],
)
def test_testing_and_prediction_give_the_same_scores(tmp_path, protocol, method):
    root = evaluation_runs.make_clips(tmp_path)
    model = save_model(tmp_path / "flow.safetensors", channels=2, protocol=protocol, flow=method)
    evaluation = evaluate_protocols(
        model, read_annotations(root / "clips.csv"), compute=ComputeConfig("cpu", cache=Cache(tmp_path / "c"))
    )[0]
    assert f"{method} flow" in evaluation.protocol
    predictor = Predictor(model, compute=ComputeConfig(device="cpu"))
    assert predictor.flow == method  # as the weights name it
    for file, scores_K in zip(evaluation.files_N, evaluation.scores_NK, strict=True):
        scores = predictor.scores(predictor.logits(file), file)
        expected = scores.scores_K if protocol is WINDOWS else scores.probabilities_K
        assert np.allclose(scores_K, expected, atol=1e-5), file


@pytest.mark.slow
@pytest.mark.parametrize(("of", "protocol"), [("score", CLIPS), ("prob", WINDOWS)], ids=["clips", "windows"])
def test_two_streams_are_tested_as_they_are_predicted(tmp_path, of, protocol):
    root = evaluation_runs.make_clips(tmp_path)
    (root / "bad.mp4").write_bytes(b"x")  # with it, the resume logs stay
    with (root / "clips.csv").open("a") as file:
        file.write("bad.mp4,a\n")
    rgb = save_model(root / "rgb.safetensors", protocol=protocol)
    flow = save_model(root / "flow.safetensors", channels=2, labels=("c", "a", "b"), protocol=protocol)
    command = ["i3d", "test", rgb, "--flow-model", flow, "--streams", "rgb,flow", "--flow-method", "dis"]
    command += ["--fuse-average", of, "--max-bad", "50%"]
    command += ["--data", root / "clips.csv", "--out", root / "r.json", "--device", "cpu"]
    result = run_here([*command, "--cache", tmp_path / "cache", "--stream-weights", "2,1"])
    assert result.returncode == 3, result.stderr
    assert all(name in result.stdout for name in ("rgb", "flow", "fused"))
    two = TwoStreams(
        Predictor(rgb, compute=ComputeConfig(device="cpu")),
        Predictor(flow, flow="dis", compute=ComputeConfig(device="cpu")),
        weights=(2, 1),
        average=of,
    )
    document = json.loads((root / "r.json").read_text())
    for clip in document["clips"][:6]:
        (scores,) = clip["scores"].values()
        probabilities = softmax(np.array(scores)) if of == "score" else np.array(scores)
        predicted = {one.label: one.score for one in two(clip["file"]).predictions}
        assert probabilities == pytest.approx([predicted[name] for name in document["classes"]], abs=1e-5)
    by_hand = run_here(["i3d", "fuse", root / "r.rgb.json", root / "r.flow.json", "--stream-weights", "2,1", "--json"])
    fused = json.loads(by_hand.stdout)["fused"]
    (protocol_values,) = document["protocols"].values()
    assert fused["top1"] == protocol_values["metrics"]["top1"]
    again = run_here([*command, "--cache", tmp_path / "cache"])
    assert again.stderr.count("6 of 7 clips were done before") == 2
    other = run_here([*command, "--cache", tmp_path / "cache", "--stream-weights", "1,5"])
    assert other.returncode == 2
    assert "r.json: holds another test (" in other.stderr
    assert json.loads((root / "r.json").read_text()) == document
    (root / "q.rgb.json").write_text("precious")
    second = run_here([str(word).replace("r.json", "q.json") for word in command])
    assert "q.rgb.json: the file exists; choose another name, or replace it with --force" in second.stderr
    assert (root / "q.rgb.json").read_text() == "precious"


@pytest.mark.slow
def test_weights_are_swept_on_held_out_clips(tmp_path):
    root = evaluation_runs.make_clips(tmp_path)
    rgb, flow = save_model(root / "rgb.safetensors"), save_model(root / "flow.safetensors", channels=2)
    options = [
        "--data",
        root / "clips.csv",
        "--cache",
        tmp_path / "cache",
        "--flow-method",
        "dis",
        "--stream-weights",
        "sweep",
    ]
    result = run_here(["i3d", "test", rgb, "--flow-model", flow, *options])
    assert result.returncode == 0, result.stderr
    assert "the best on 3 held-out clips, which are not in the table" in result.stdout
    assert "of 3 clips" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["{rgb}", "--flow-model", "{rgb}x"],
            "MODEL is a network of rgb, --flow-model of rgb; give that of RGB",
        ),
        (["{flow}", "--streams", "rgb"], "--streams rgb: the networks that are named are of flow; name those of rgb"),
        (
            ["{rgb}", "--streams", "rgb,flow"],
            "--streams rgb,flow: the networks that are named are of rgb",
        ),
        (["{rgb}", "--streams", "depth"], "--streams 'depth': write rgb, flow, or rgb,flow"),
        (["{rgb}", "--flow-model", "{flow}", "--average-clips", "prob"], "--average-clips: is for one network"),
        (
            ["{rgb}", "--flow-model", "{flow}", "--stream-weights", "1"],
            "write two numbers with a comma, such as 1,1, or sweep",
        ),
        (["{flow}", "--flow-model", "{flow}"], "MODEL is a network of flow, --flow-model of flow"),
        (
            ["{rgb}", "--flow-model", "{flow}", "--stream-weights", "-1,1"],
            "give two numbers of at least 0, not both 0",
        ),
        (
            ["{rgb}", "--stream-weights", "1,2"],
            "--stream-weights 1,2: is for two streams; name the network",
        ),
        (["{rgb}", "--fuse-average", "prob"], "--fuse-average prob: is for two streams"),
        (["{rgb}", "--flow-method", "dis"], "--flow-method dis: is for a network of flow; name one"),
        (["{flow}", "--flow-method", "raft"], "--flow-method 'raft': is not one of tvl1, dis, farneback"),
    ],
)
def test_streams_that_make_no_sense_are_refused(tmp_path, options, message):
    root = evaluation_runs.make_clips(tmp_path)
    rgb, flow = save_model(root / "rgb.safetensors"), save_model(root / "flow.safetensors", channels=2)
    (root / "rgb.safetensorsx").write_bytes(rgb.read_bytes())
    words = [option.format(rgb=rgb, flow=flow) for option in options]
    result = run_here(["i3d", "test", *words, "--data", root / "clips.csv"])
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.slow
def test_predict_takes_streams(tmp_path):
    root = evaluation_runs.make_clips(tmp_path)
    rgb, flow = save_model(root / "rgb.safetensors"), save_model(root / "flow.safetensors", channels=2)
    only = run_here(
        ["i3d", "predict", root / "0.mp4", "--streams", "flow", "--flow-model", flow, "--flow-method", "dis", "--json"]
    )
    assert only.returncode == 0, only.stderr
    alone = run_here(["i3d", "predict", root / "0.mp4", "--model", flow, "--flow-method", "dis", "--json"])
    assert json.loads(only.stdout) == json.loads(alone.stdout)
    for options, message in (
        (["--streams", "rgb,flow"], "no network of flow comes with the package; name one with --flow-model"),
        (["--streams", "rgb", "--flow-model", flow], "leave out --flow-model too"),
        (["--streams", "flow", "--model", rgb, "--flow-model", flow], "name only --flow-model"),
    ):
        result = run_here(["i3d", "predict", root / "0.mp4", *options])
        assert result.returncode == 2
        assert message in result.stderr


FLOW_RECIPE = (
    training_runs.RECIPE.replace("brightness: 0.2, ", "")
    .replace("network: {depth: 18, base_channels: 4}", "network: {depth: 18, base_channels: 4, in_channels: 2}")
    .replace(
        "{short_side: 32, crop: 32}", "{short_side: 32, crop: 32, mean: [127.5, 127.5], std: [127.5, 127.5], flow: dis}"
    )
)


@pytest.mark.slow
def test_a_network_of_flow_trains_on_videos_and_resumes_bit_exactly(tmp_path):
    root = training_runs.make_clips(tmp_path, num_train=6, num_val=2)
    (root / "tiny.yaml").write_text(FLOW_RECIPE)
    whole = training_runs.finish(
        training_runs.command(root, root / "A", "--epochs", 2, "--cache", tmp_path / "cache", "--workers", 2)
    )
    assert f"(dis flow is computed in the first epoch and cached in {tmp_path / 'cache'})" in whole
    assert len(list((tmp_path / "cache").rglob("*.mkv"))) == 8
    training_runs.finish(training_runs.command(root, root / "B", "--epochs", 2, "--cache", tmp_path / "other"))
    assert training_runs.digests(root / "A") == training_runs.digests(root / "B")
    recipe = json.loads((root / "A" / "recipe.json").read_text())
    assert recipe["preprocessing"]["flow"] == "dis"
    assert Predictor(root / "A" / "best.safetensors", compute=ComputeConfig(device="cpu")).flow == "dis"
    data = ["--data", root / "clips.csv", "--split", "val", "--cache", tmp_path / "cache"]
    tested = run_here(["i3d", "test", root / "A" / "best.safetensors", *data])
    assert tested.returncode == 0, tested.stderr
    assert "dis flow" in tested.stdout


def test_flow_is_not_for_networks_of_rgb(tmp_path):
    root = training_runs.make_clips(tmp_path, num_train=4, num_val=2)
    output = training_runs.finish(training_runs.command(root, root / "W", "--flow-method", "dis"), expected=2)
    assert "preprocessing.flow is for networks of 2 channels, this has 3" in output


@pytest.mark.parametrize(
    "protocol", [CLIPS.model_copy(update={"clip_len": 30, "frame_interval": 1}), WINDOWS], ids=["clips", "windows"]
)
def test_a_prediction_caches_its_flow_and_is_the_same_again(tmp_path, monkeypatch, protocol):
    file = str(next(evaluation_runs.make_clips(tmp_path).glob("**/*.mp4")))
    model = save_model(tmp_path / "flow.safetensors", channels=2, protocol=protocol, flow="dis")
    predictor = Predictor(model, compute=ComputeConfig(device="cpu", cache=Cache(tmp_path / "c")))
    first = predictor(file)
    assert len(list((tmp_path / "c").glob("**/*.flow.mkv"))) == 1
    of_bytes = predictor(Path(file).read_bytes())  # whose flow is not cached
    assert replace(of_bytes, path=file) == first
    assert first.frames > 0
    monkeypatch.setattr(computed_flow, "consecutive_flows", None)
    assert predictor(file) == first


def test_notes_on_a_damaged_video_are_cached_with_its_flow(tmp_path):
    whole = encode(tmp_path / "whole.mp4", [numbered_frame(k, height=36, width=48) for k in range(50)], fps=25)
    cut = tmp_path / "cut.mkv"
    encode(cut, [numbered_frame(k, height=36, width=48) for k in range(50)], fps=25)
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * 0.7)])
    model = save_model(tmp_path / "flow.safetensors", channels=2, protocol=WINDOWS, flow="dis")
    predictor = Predictor(model, compute=ComputeConfig(device="cpu", cache=Cache(tmp_path / "c")))
    prediction = predictor(str(cut))
    assert prediction.error.startswith("warning: ")
    assert predictor(str(cut)) == prediction
    assert predictor(str(whole)).error == ""


@pytest.mark.slow
def test_a_few_clips_of_a_long_video_have_only_their_flow_computed(tmp_path):
    file = tmp_path / "long.mp4"
    encode(file, [numbered_frame(k, height=36, width=48) for k in range(120)], fps=25)
    model = save_model(tmp_path / "flow.safetensors", channels=2, protocol=CLIPS, flow="dis")
    predictor = Predictor(model, compute=ComputeConfig(device="cpu", cache=Cache(tmp_path / "c")))
    few = predictor(str(file))
    assert not list((tmp_path / "c").glob("**/*.mkv"))
    with open_video(file) as video:
        predictor.sampler.flow.open(video, content_digest(file), short_side=PRE.short_side).__exit__()
    assert replace(few, path="") == replace(predictor(str(file)), path="")


def test_a_prediction_continues_if_its_flow_cannot_be_cached(tmp_path):
    file = str(next(evaluation_runs.make_clips(tmp_path).glob("**/*.mp4")))
    (tmp_path / "file").write_text("")
    model = save_model(tmp_path / "flow.safetensors", channels=2, protocol=WINDOWS, flow="dis")
    cached = Predictor(model, compute=ComputeConfig(device="cpu", cache=Cache(tmp_path / "c")))(file)
    prediction = Predictor(model, compute=ComputeConfig(device="cpu", cache=Cache(tmp_path / "file" / "c")))(file)
    assert prediction.predictions == cached.predictions
    assert "the computed flow cannot be written" in prediction.error


@pytest.mark.parametrize("frame_indices", [[0], [0, 1], [60, 61, 75], [5, 4, 5]])
def test_flow_of_a_few_frames_decodes_little_and_equals_that_of_all(tmp_path, monkeypatch, frame_indices):
    path, converted, convert = render(tmp_path / "a.mp4", num_frames=80, options={"g": "8"}), [], ContainerVideo.to_rgb
    monkeypatch.setattr(ContainerVideo, "to_rgb", lambda self, frame: converted.append(0) or convert(self, frame))
    with open_video(path) as video:
        flow = flow_at(video, frame_indices, lambda frame_HWC: frame_HWC, method="dis")
    assert len(converted) <= 2 * len(frame_indices)
    with open_video(path) as video:
        frames = list(video.stream())
    pairs = [(max(index, 1) - 1, max(index, 1)) for index in frame_indices]
    expected = [flow_to_bytes(flow_between(frames[a], frames[b], method="dis")) for a, b in pairs]
    assert np.array_equal(flow, expected)


def test_the_flow_of_a_single_frame_is_zero(tmp_path):
    with open_video(render(tmp_path / "a.mp4", num_frames=1)) as video:
        (flow_HW2,) = flow_at(video, [0], lambda frame_HWC: frame_HWC, method="dis")
    assert np.abs(flow_HW2.astype(int) - 127).max() <= 1
