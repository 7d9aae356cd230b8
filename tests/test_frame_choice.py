"""Which images of a folder are the frames: the same ones for every command, or an error that names the choices."""

import re

import cv2
import numpy as np
import pytest

from i3d.data import ClipDataset, TrainView, read_annotations
from i3d.data.check.clip import ClipJob, inspect_clip
from i3d.data.check.dataset import check_annotations, check_dataset
from i3d.data.formats.write import write_annotations
from i3d.data.frame_folders import FrameNaming, infer_naming, open_frames
from i3d.data.loading.dataset import TestView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.errors import InputError, VideoError
from i3d.recipes.augmentation import Augmentation, CenterCrop, TrainSampling
from i3d.recipes.settings import ClipProtocol, Preprocessing
from i3d.video import open_video
from support.commands import run_here

N = 12
PLAIN = Augmentation(resize=None, crop=CenterCrop(), size=32, flip=0.0)
TEST_VIEW = TestView(ClipProtocol(clip_len=N, frame_interval=1, num_clips=1), Preprocessing(short_side=32, crop=32))
VIEW = TrainView(TrainSampling(clip_len=N, frame_interval=1), PLAIN)
RGB = {  # file names of frame i, and images beside them
    "mmaction2": ("img_{:05d}.jpg", ()),
    "plain": ("{:d}.png", ()),
    "charades": ("v0-{:06d}.jpg", ()),
    "denseflow": ("img_{:05d}.jpg", ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg")),
    "short axes": ("img_{:05d}.jpg", ("x_{:05d}.jpg", "y_{:05d}.jpg")),
    "u and v": ("frame{:06d}.jpg", ("flow_u_{:06d}.jpg", "flow_v_{:06d}.jpg")),
    "packed flow": ("img_{:05d}.jpg", ("flow_{:05d}.jpg",)),
    "pytorch-i3d": ("v0-{:06d}.jpg", ("v0-{:06d}x.jpg", "v0-{:06d}y.jpg")),
}
FLOW = {  # names of the x and y images, relative to the folder `u/v0`, and the template that is inferred
    "denseflow": ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg", "flow_{axis}_{:05d}.jpg"),
    "pytorch-i3d": ("v0-{:06d}x.jpg", "v0-{:06d}y.jpg", "{folder}-{:06d}{axis}.jpg"),
    "after": ("{:06d}_x.jpg", "{:06d}_y.jpg", "{:06d}_{axis}.jpg"),
    "u and v": ("frame_u_{:06d}.jpg", "frame_v_{:06d}.jpg", "frame_{uv}_{:06d}.jpg"),
    "folders of the clip": ("u/frame{:06d}.jpg", "v/frame{:06d}.jpg", "{uv}/frame{:06d}.jpg"),
    "x and y folders": ("x/{:06d}.jpg", "y/{:06d}.jpg", "{axis}/{:06d}.jpg"),
    "flow_x folders": ("flow_x/{:05d}.jpg", "flow_y/{:05d}.jpg", "flow_{axis}/{:05d}.jpg"),
    "tvl1_flow": ("frame{:06d}.jpg", "../../v/v0/frame{:06d}.jpg", "../../{uv}/{folder}/frame{:06d}.jpg"),
}


def write(file, value):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((32, 40, 3), value, np.uint8))


def rgb_folder(folder, template, others=(), *, missing=()):
    """Frames whose grey value is 10 i, and other images that are white."""
    for i in range(N):
        if i not in missing:
            write(folder / template.format(i + 1), 10 * i)
        for other in others:
            write(folder / other.format(i + 1), 255)
    return folder


def values(frames):
    return [round(float(frame.mean()) / 10) for frame in frames]


@pytest.mark.parametrize("layout", RGB)
def test_every_reader_chooses_the_same_rgb_frames(tmp_path, layout):
    folder = rgb_folder(tmp_path / "clips" / "v0", *RGB[layout])
    with open_video(folder) as video:
        assert values(video.stream()) == list(range(N))
        num_others = N * len(RGB[layout][1])
        notes = [f"{num_others} images are ignored"] if num_others else []
        assert [note.partition(":")[0] for note in video.notes] == notes
    naming = infer_naming(folder, modality="rgb")
    with open_frames(folder, naming) as video:
        assert values(video.stream()) == list(range(N))
    for job in (ClipJob(folder), ClipJob(folder, is_frames=True, naming=naming)):
        assert (inspect_clip(job).num_frames, inspect_clip(job).problems) == (N, ())
    (tmp_path / "list.txt").write_text(f"clips/v0 {N} 0\n")
    clip = ClipDataset(read_annotations(tmp_path / "list.txt"), VIEW)[0, 0].clips_NVTHWC[0, 0].numpy()
    assert values(clip) == list(range(N))


def test_a_few_numbered_images_among_others_are_no_frames(tmp_path):
    folder = rgb_folder(tmp_path / "v0", "img_{:05d}.png", [])
    for letter in "abcdefghijklmnopqrst":
        write(folder / f"{letter}.png", 255)
    with pytest.raises(VideoError, match=f"only {N} of its {N + 20} images are numbered alike, unlike a.png, b.png"):
        open_video(folder)


@pytest.mark.parametrize("layout", FLOW)
def test_flow_is_found_and_is_an_error_for_rgb(tmp_path, layout):
    x_name, y_name, template = FLOW[layout]
    folder = tmp_path / "flow" / "u" / "v0"
    for i in range(N):
        write(folder / x_name.format(i + 1), 10 * i)
        write(folder / y_name.format(i + 1), 10 * i + 100)
    naming = infer_naming(folder, modality="flow")
    assert naming == FrameNaming(template, 1, "flow")
    with open_frames(folder, naming) as video:
        assert [frame[0, 0].tolist() for frame in video.stream()] == [[10 * i, 10 * i + 100] for i in range(N)]
    assert (inspect_clip(ClipJob(folder, is_frames=True, naming=naming)).num_frames) == N
    with pytest.raises(VideoError, match=r"optical flow|no image") as error:
        open_video(folder)
    assert "--" not in error.value.todo  # `predict` and `features` have no option of names
    with pytest.raises(VideoError, match=r"optical flow|no numbered image"):
        infer_naming(folder, modality="rgb")
    (tmp_path / "list.txt").write_text(f"flow/u/v0 {N} 0\n")
    clip = ClipDataset(read_annotations(tmp_path / "list.txt"), VIEW, flow=ClipFlow())[0, 0].clips_NVTHWC[0, 0].numpy()
    assert [flow_HW2[0, 0].tolist() for flow_HW2 in clip] == [[10 * i, 10 * i + 100] for i in range(N)]


UNCLEAR = {  # names of the images of a folder, and why no command reads it
    "left and right": (("left_{:04d}.jpg", "right_{:04d}.jpg"), "unclear (left_#.jpg, right_#.jpg)"),
    "mask": (("img_{:d}.png", "mask_{:d}.png"), "unclear (img_#.png, mask_#.png)"),
    "depth": (("colour{:d}.jpg", "depth{:d}.png"), "unclear (colour#.jpg, depth#.png)"),
    "cameras": (("cam1_{:03d}.jpg", "cam2_{:03d}.jpg"), "unclear (cam1_#.jpg, cam2_#.jpg)"),
    "suffixes": (("img_{:04d}.jpg", "img_{:04d}.png"), "unclear (img_#.jpg, img_#.png)"),
    "numbers": (("1_{:03d}.png", "2_{:03d}.png"), "unclear (1_#.png, 2_#.png)"),
    "three numbers": (("1_2_{:03d}.png", "1_3_{:03d}.png"), "unclear (1_2_#.png, 1_3_#.png)"),
    "padded too": (("img_{:d}.jpg", "img_{:02d}.jpg"), "not written in one way, in digits 0 to 9 (img_"),
    "Arabic digits": ((), "not written in one way, in digits 0 to 9 (img_\u0660"),
}


def unclear_folder(folder, layout):
    templates = UNCLEAR[layout][0]
    for i in range(1, N + 1):
        if layout == "Arabic digits":
            write(folder / ("img_" + f"{i:05d}".translate({48 + k: 0x660 + k for k in range(10)}) + ".jpg"), i)
        else:
            for template in templates:
                write(folder / template.format(i), i)
    return folder


def reasons(folder, tmp_path):
    """Why each reader refuses the images of a folder: predict, the check, training, tests, lists."""
    others = [rgb_folder(tmp_path / "set" / f"v{k}", "img_{:05d}.jpg") for k in range(3)]
    with pytest.raises(VideoError) as error:
        open_video(folder)
    yield error.value
    with pytest.raises(VideoError) as error:
        infer_naming(folder, modality="rgb")
    yield error.value
    (tmp_path / "set" / "list.txt").write_text("".join(f"{clip.name} {N} 0\n" for clip in (*others, folder)))
    (tmp_path / "set" / "table.csv").write_text("path,label\n" + "".join(f"{c.name},a\n" for c in (*others, folder)))
    for name in ("list.txt", "table.csv"):
        annotations = read_annotations(tmp_path / "set" / name)
        for view in (VIEW, TEST_VIEW):
            with pytest.raises(VideoError) as error, ClipDataset(annotations, view).open_clip(3):
                pass
            yield error.value
    with pytest.raises(VideoError) as error:
        write_annotations(annotations, tmp_path / "out.txt")
    yield error.value
    for report in (check_dataset(tmp_path / "set", num_workers=0), check_annotations(annotations, num_workers=0)):
        [bad] = [row for row in report.rows if row.path == folder.name]
        assert bad.status == "unreadable"
        yield bad.reason


@pytest.mark.parametrize("layout", UNCLEAR)
def test_unclear_images_are_refused_by_every_reader_in_the_same_words(tmp_path, layout):
    """Also in a dataset whose other folders are clear, with the number of frames in the list or without."""
    first, *others = reasons(unclear_folder(tmp_path / "set" / "w", layout), tmp_path)
    assert UNCLEAR[layout][1] in first.why
    assert "--" not in first.todo  # `predict` and `features` have no option of names
    texts = [str(other).removeprefix(f"{first.name}: ") for other in others]
    assert {text.partition(" or --template")[0] for text in texts} == {f"{first.why}; {first.todo}"}
    if match := re.search(r"such as (\S+)", first.todo):
        with open_video(match[1]) as video:
            assert video.num_frames == N
        naming = FrameNaming(re.search(r"--template '(.+)'", texts[0])[1])
        with open_frames(tmp_path / "set" / "w", naming) as video:
            assert video.num_frames == N


def test_a_folder_whose_frames_have_other_names_is_not_read_by_those_of_the_others(tmp_path):
    """One image of it has the name of the others' first frame: it is no clip of one frame."""
    for k in range(3):
        rgb_folder(tmp_path / f"v{k}", "img_{:05d}.jpg")
    write(rgb_folder(tmp_path / "w", "frame_{:05d}.jpg") / "img_00001.jpg", 0)
    (tmp_path / "table.csv").write_text("path,label\n" + "".join(f"{name},a\n" for name in ("v0", "v1", "v2", "w")))
    dataset = ClipDataset(read_annotations(tmp_path / "table.csv"), VIEW)
    what = r"w: its frames are named frame_\{:05d\}.jpg, those of the other folders img_\{:05d\}.jpg; rename them, or"
    with pytest.raises(VideoError, match=what):
        dataset.open_clip(3)
    with ClipDataset(read_annotations(tmp_path / "table.csv"), VIEW, naming=FrameNaming()).open_clip(3) as video:
        assert video.num_frames == 1  # the naming is given


def test_a_missing_number_is_reported_by_every_reader(tmp_path):
    folder = rgb_folder(tmp_path / "v0", "img_{:05d}.jpg", missing=(4, 7))
    for source in (folder, f"{folder}/img_%05d.jpg"):
        with open_video(source) as video:
            assert video.notes == ("2 frames are missing, the first img_00005.jpg",)
    with pytest.raises(VideoError, match=r"img_00005.jpg is missing"), open_frames(folder, FrameNaming()):
        pass
    assert "img_00005.jpg" in inspect_clip(ClipJob(folder)).gap
    assert "img_00005.jpg" in inspect_clip(ClipJob(folder, is_frames=True, naming=FrameNaming())).gap


def test_times_as_names_are_one_sequence(tmp_path):
    for i in range(N):
        write(tmp_path / f"2026-01-02_10-{i // 6:02d}-{10 * (i % 6):02d}.png", 10 * i)
    with open_video(tmp_path) as video:
        assert values(video.stream()) == list(range(N))


def test_regular_distances_and_times_are_no_gaps(tmp_path):
    for name, numbers in (("fifth", range(0, 60, 5)), ("ms", [i * 100 // 3 for i in range(12)])):
        for number in numbers:
            write(tmp_path / name / f"{number:06d}.jpg", 0)
    for i in range(12):
        write(tmp_path / "seconds" / f"{i / 5:.3f}.jpg", 10 * i)
    for name in ("fifth", "ms", "seconds"):
        with open_video(tmp_path / name) as video:
            assert (video.num_frames, video.notes) == (12, ())
    with open_video(tmp_path / "seconds") as video:
        assert values(video.stream()) == list(range(12))


@pytest.mark.slow
def test_predict_and_features_read_the_rgb_frames_and_report_the_rest(tmp_path):
    mixed = rgb_folder(tmp_path / "both", "img_{:05d}.jpg", ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg"))
    plain = rgb_folder(tmp_path / "only", "img_{:05d}.jpg")
    gap = rgb_folder(tmp_path / "gap", "img_{:05d}.jpg", missing=(3,))
    flow = rgb_folder(tmp_path / "flow", "flow_x_{:05d}.jpg", ("flow_y_{:05d}.jpg",))
    result = run_here(["i3d", "predict", mixed, plain, gap, flow, "--out", tmp_path / "scores.csv", "--device", "cpu"])
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert result.returncode == 3
    assert "24 images are ignored" in result.output
    assert "1 frame is missing, the first img_00004.jpg" in result.output
    assert "its images are optical flow" in result.output
    scores = {row.split(",")[0].rpartition("/")[2]: row.split(",")[1:4] for row in rows[1:]}
    assert scores["both"] == scores["only"]


def test_classes_named_u_and_v_are_no_flow(tmp_path):
    for name in "tuv":
        rgb_folder(tmp_path / name / "0001", "img_{:05d}.jpg")
    assert infer_naming(tmp_path / "u" / "0001", modality="rgb") == FrameNaming()
    with open_video(tmp_path / "u" / "0001") as video:
        assert values(video.stream()) == list(range(N))


def test_templates_name_the_folder():
    assert FrameNaming("{folder}-{:06d}.jpg").name(0, folder="clips/v0ABC") == "v0ABC-000001.jpg"
    naming = FrameNaming("../../{uv}/{folder}/frame{:06d}.jpg", 1, "flow")
    assert naming.name(0, "y", "u/v0") == "../../v/v0/frame000001.jpg"
    for template in ("{folder}.jpg", "../{:d}.jpg", "/{:d}.jpg", "{uv}/../{:d}.jpg", "{folder.x}{:d}.jpg", "a/{:d}"):
        with pytest.raises(InputError, match="not a file name with a number"):
            FrameNaming(template)
    with pytest.raises(InputError, match="is for flow"):
        FrameNaming("{uv}_{:d}.jpg")
