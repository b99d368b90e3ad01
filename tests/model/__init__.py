"""Random histories against models of what a mount must show."""

import pytest

pytest.register_assert_rewrite("tests.model.failing")
