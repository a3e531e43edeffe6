"""Small disks of their own for a ring's nodes: ext4 in a file, so that one can be filled or frozen and nothing else is."""

from pathlib import Path
from typing import Final

from lab.errors import CommandFailed
from lab.network import command

SIZE_MIB: Final = 48
FILLER: Final = "filler"


def make(directory: Path, name: str) -> Path:
    """A disk at `directory`/`name`."""
    place, image = directory / name, directory / f"{name}.img"
    place.mkdir()
    command(["truncate", "-s", f"{SIZE_MIB}M", str(image)])
    command(["mkfs.ext4", "-q", "-m", "0", str(image)])
    command(["mount", "-o", "loop", str(image), str(place)])
    return place


def fill(place: Path) -> None:
    """Until nothing more can be written."""
    # Unbuffered: what could not be written must not be tried again at the end.
    with (place / FILLER).open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue  # full for pieces of this size


def empty(place: Path) -> None:
    (place / FILLER).unlink(missing_ok=True)


def freeze(place: Path, *, frozen: bool) -> None:
    """Writers wait for as long as it is frozen. Repeating it is harmless."""
    try:
        command(["fsfreeze", "-f" if frozen else "-u", str(place)])
    except CommandFailed as error:
        if "busy" not in str(error).lower() and "invalid argument" not in str(error).lower():
            raise


def mounted(directory: Path) -> list[Path]:
    places = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in places if place.is_relative_to(directory)]


def unmount_all(directory: Path) -> None:
    for place in mounted(directory):
        freeze(place, frozen=False)
        command(["umount", str(place)])
