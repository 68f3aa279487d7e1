"""Amounts as a person reads them: bytes and hours."""


def size(count: float) -> str:
    """Bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def in_hours(count: float) -> str:
    """Hours, or minutes where they are few: of an estimate, which is no exact time."""
    return f"{count * 60:.1f} minutes" if count < 1 else f"{count:,.1f} hours"


def counted(count: float, noun: str) -> str:
    """`1 GPU`, `2 GPUs`, `0.5 GPUs`."""
    return f"{count:.12g} {noun}" + "s" * (count != 1)
