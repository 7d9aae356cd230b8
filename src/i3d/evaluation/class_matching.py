"""Match the classes of a list with those of a model."""

from collections.abc import Sequence
from typing import Final

from i3d.data.annotations import Annotations
from i3d.data.labels import clean_label, numbered_labels
from i3d.errors import InputError, quoted
from i3d.recipes.recipe import Recipe

MAX_NAMED: Final = 5  # classes


def match_classes(annotations: Annotations, labels: tuple[str, ...], model: str) -> tuple[int, ...]:
    """The model's number of each class of a list, by name. Equally many numbered classes keep their numbers.

    A class that the model lacks is an InputError.
    """
    listed = annotations.classes
    are_numbers = listed == numbered_labels(len(listed))
    if listed == labels or (are_numbers and len(listed) == len(labels)):
        return tuple(range(len(listed)))
    number_of = {clean_label(name): number for number, name in reversed(list(enumerate(labels)))}
    missing = [name for name in listed if clean_label(name) not in number_of]
    if not missing:
        return tuple(number_of[clean_label(name)] for name in listed)
    where = f"{annotations.source}: "
    if are_numbers:
        raise InputError(
            f"{where}numbers its {len(listed)} classes, {quoted(model)} has {len(labels)}; name them with --classes"
        )
    if labels == numbered_labels(len(labels)):
        remedy = "its classes have no names: add them with `i3d convert --classes`"
    else:
        remedy = f"it has {_names(labels)}"
    raise InputError(f"{where}classes that {quoted(model)} does not have: {_names(missing)}; {remedy}")


def _names(classes: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in classes[:MAX_NAMED]) + " ..." * (len(classes) > MAX_NAMED)


def check_labels(annotations: Annotations, recipe: Recipe) -> None:
    """Raise InputError unless every clip has a label, and only one if the recipe is single-label."""
    for index in range(len(annotations)):
        num_labels = len(annotations.labels_of(index))
        where = f"{annotations.where(index)}: {quoted(annotations.path(index))}: "
        if num_labels == 0:
            raise InputError(f"{where}has no label; a test needs one")
        if num_labels > 1 and not recipe.multi_label:
            raise InputError(f"{where}has {num_labels} labels; the recipe {quoted(recipe.name)} is single-label")
