"""Do two wheels hold the same files? One was built from the sdist, one from the tree.

python same_wheels.py ONE.whl OTHER.whl
"""

import sys
from zipfile import ZipFile


def contents(file: str) -> dict[str, bytes]:
    with ZipFile(file) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


one, other = map(contents, sys.argv[1:])
if differing := sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)):
    sys.exit(f"the sdist builds another wheel than the tree does: {', '.join(differing)}")
print(f"{len(one)} files in the wheel, the same from the sdist and from the tree")
