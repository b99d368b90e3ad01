"""A tree, and a container in it."""

import pytest

from containerfs.fs.namespace.nodes import ContainerDirectory
from containerfs.fs.namespace.tree import Tree
from tests.fs.namespace.trees import new_container


@pytest.fixture
def tree() -> Tree:
    return Tree()


@pytest.fixture
def directory(tree: Tree) -> ContainerDirectory:
    return new_container(tree)
