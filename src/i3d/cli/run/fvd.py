"""`i3d fvd`: the distance between two sets of videos."""

from i3d.cli import output
from i3d.cli.fvd import FvdOptions
from i3d.cli.messages import if_interrupted, log, unreadable_code
from i3d.cli.run.setup import compute_config
from i3d.errors import printable
from i3d.video.base import Limits
from i3d.video_distance import api
from i3d.video_distance.protocols import fvd_protocol
from i3d.weights.pretrained import DEFAULT


def run_fvd(real: str, generated: str, options: FvdOptions) -> int:
    """Compute and print the distance of two sets; the exit code."""
    given = {name: value for name, value in vars(options.protocol).items() if value is not None}
    protocol = fvd_protocol(given.pop("fvd_protocol"), **given)
    extras = api.FvdOptions(
        seed=options.seed,
        control=options.control,
        bootstrap=options.bootstrap,
        runs=options.runs,
        mixed_sizes=options.mixed_sizes,
        limits=Limits(max_seconds=options.max_decode_lag),
    )
    compute = compute_config(options.compute)
    saved = f"features so far are in the cache, {printable(str(compute.cache.folder))}"
    with if_interrupted(saved), output.ProgressBar("fvd", None, "clip") as bar:
        result = api.compute_fvd(
            real, generated, protocol, extras,
            compute=compute, model=options.model or DEFAULT, on_progress=bar.within,
        )  # fmt: skip
    errors = [*result.real.errors, *result.generated.errors]
    for error in errors:
        log.error(error)
    output.print_fvd(result, json=options.json)
    return unreadable_code(len(errors), "video")
