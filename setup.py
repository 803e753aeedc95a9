"""What pyproject.toml cannot say: the top-level search_spaces/ is installed as xlite/search_spaces/."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["xlite*"]), "xlite.search_spaces"],
    package_dir={"xlite.search_spaces": "search_spaces"},
)
