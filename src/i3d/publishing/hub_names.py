"""Names as the model hub has them: repositories and licences."""

import re
from typing import Final

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from i3d.errors import InputError, quoted

OTHER: Final = "other"  # the hub's name of a licence without identifier
IDENTIFIER: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def check_repository(where: str, name: str) -> None:
    """An InputError for a name that no repository of the hub can have; the rule is that of its own library."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"{where} {quoted(name)}: {str(error).rstrip('.')}; write owner/name") from error
    if "/" not in name:
        raise InputError(f"{where} {quoted(name)}: has no owner; write owner/name")


def check_licence(given: str | None, stored: str) -> tuple[str, tuple[str, ...]]:
    """The licence of a card as an identifier, and notes: the given one, or that of the checkpoint, or "other".

    >>> check_licence(None, "Apache-2.0")
    ('apache-2.0', ())
    """
    if given is not None:
        if not IDENTIFIER.fullmatch(given):
            raise InputError(f"licence {quoted(given)}: is no identifier of the hub; write one such as apache-2.0")
        return given, ()
    if IDENTIFIER.fullmatch(stored.lower()) and stored != "none":
        return stored.lower(), ()
    return OTHER, (f'the licence is "other" ({stored}): name one with --licence, such as apache-2.0',)
