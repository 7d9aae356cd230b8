"""`i3d publish` and `i3d push`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from i3d import publishing
from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import INPUT, MODEL, OUTPUT, WEIGHTS, FileOrName, Json, in_file
from i3d.cli.usage import command

MAKES = "The new folder to write."


def publish(
    model: Annotated[
        FileOrName, WEIGHTS, Parameter(group=INPUT, help="The folder of a run, or an i3d checkpoint (.safetensors).")
    ],
    out: Annotated[Path, Parameter(group=OUTPUT, help=MAKES)],
    /,
    *,
    repository: Annotated[
        str | None, Parameter(group=OUTPUT, help="owner/name on the model hub, for the examples of the card.")
    ] = None,
    test: Annotated[
        Path | None, in_file("A result of `i3d test --out` (default: test.json of the run).", option="--test")
    ] = None,
    licence: Annotated[
        str | None, Parameter(group=MODEL, help="Licence, as an identifier of the hub such as apache-2.0.")
    ] = None,
    base_model: Annotated[
        str | None, Parameter(group=MODEL, help="owner/name on the hub of the weights that it started from.")
    ] = None,
    exports: Annotated[
        str, Parameter(group=OUTPUT, help="Exports in the folder too, with commas: onnx, openvino.")
    ] = "",
    json: Json = False,
) -> None:
    """Write a model as a folder for the model hub.

    The folder holds model.safetensors, config.json (classes, preprocessing, protocol) and README.md, a model card with
    the metrics of its test; no name of a clip. `i3d predict --model FOLDER` uses it as it is.

    Examples:
      i3d publish my my-model --repository me/my-model --licence apache-2.0
    """
    with output.ProgressBar("publish") as bar:
        published = publishing.publish(
            model,
            out,
            repository=repository,
            test=test,
            licence=licence,
            base_model=base_model,
            exports=[name.strip() for name in exports.split(",") if name.strip()],
            on_progress=bar,
        )
    for note in published.notes:
        log.warning("%s", note)
    output.print_result(published, output.print_published, json=json)


def push(
    folder: Annotated[Path, in_file("A folder that `i3d publish` wrote.")],
    repository: Annotated[str, Parameter(group=OUTPUT, help="owner/name on the model hub; created if needed.")],
    /,
    *,
    private: Annotated[bool, Parameter(group=OUTPUT, help="Create it as private.")] = False,
    message: Annotated[str, Parameter(group=OUTPUT, help="Message of the commit.")] = "",
    json: Json = False,
) -> None:
    """Send a published folder to the model hub.

    The token is read from HF_TOKEN or that of `hf auth login`, the address of another hub from HF_ENDPOINT. One commit
    is made; earlier ones stay in the history of the hub.

    Examples:
      i3d push my-model me/my-model --private
    """
    pushed = publishing.push(folder, repository, private=private, message=message)
    if pushed.not_sent:
        log.warning("not sent, `i3d publish` did not write them: %s", ", ".join(pushed.not_sent))
    output.print_result(pushed, output.print_pushed, json=json)


publish_app, push_app = command(publish, "publish"), command(push, "push")
