"""Names the installed packages of which files are missing or cut short; exit 1 if there are any.

`--list` prints them as `name==version`, one a line, and always ends with 0.
"""

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distributions
from pathlib import Path


def whole(package: Distribution) -> bool:
    """Whether every file of the package is there in its recorded size; caches are not looked at."""
    for file in package.files or []:
        path = Path(str(file.locate()))
        if file.suffix == ".pyc" or "__pycache__" in file.parts or file.name == "RECORD":
            continue
        try:
            size = path.stat().st_size
        except OSError:
            return False
        if file.size is not None and size != file.size:
            return False
    return True


def main() -> int:
    broken = []
    for package in distributions():
        try:
            name = package.metadata["Name"]
            version = package.version
        except (KeyError, PackageNotFoundError, TypeError):
            continue
        if name and version and name != "sophia-tui" and not whole(package):
            broken.append(f"{name}=={version}")
    print("\n".join(sorted(broken)), end="\n" if broken else "")
    return 1 if broken and "--list" not in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
