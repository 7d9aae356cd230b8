"""`i3d completion`: the script that makes a shell complete commands, options and their values."""

from typing import Annotated, Literal

from cyclopts import Parameter

from i3d.cli.messages import log
from i3d.cli.options import INPUT, OUTPUT
from i3d.cli.usage import command


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(group=INPUT, help="The shell to complete for.")],
    /,
    *,
    install: Annotated[bool, Parameter(group=OUTPUT, help="Install the script for this user.")] = False,
) -> None:
    """Print or install the completion script of a shell.

    Examples:
      i3d completion zsh --install
      source <(i3d completion bash)
    """
    from i3d.cli.main import app

    if install:
        path = app.install_completion(shell=shell)
        which = "new shell whose .zshrc runs compinit" if shell == "zsh" else "new shell"
        log.info("installed %s; start a %s to use it", path, which)
    else:
        print(app.generate_completion(shell=shell) + ("compdef _cyclopts_i3d i3d\n" if shell == "zsh" else ""))


app = command(completion, "completion")
