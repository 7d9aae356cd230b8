"""Durations in words."""

from i3d.errors import counted


def format_minutes(seconds: float) -> str:
    """An expected duration, rounded as an estimate deserves.

    >>> [format_minutes(seconds) for seconds in (20, 370, 1500, 8000, 400_000)]
    ['under a minute', 'about 6 minutes', 'about 25 minutes', 'about 2 hours', 'about 5 days']
    """
    minutes = seconds / 60
    if minutes < 1:
        return "under a minute"
    if minutes < 9.5:
        return f"about {counted(round(minutes), 'minute')}"
    if minutes < 87.5:
        return f"about {5 * round(minutes / 5)} minutes"
    hours = minutes / 60
    if hours < 36:
        rounded = f"{round(2 * hours) / 2:g}" if hours < 5 else f"{hours:.0f}"
        return f"about {rounded} hours"
    return f"about {counted(round(hours / 24), 'day')}"


def format_seconds(seconds: float) -> str:
    """A measured duration with two digits: 0.8 s, 12 s, 120 s."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
