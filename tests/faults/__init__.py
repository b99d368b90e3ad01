"""What mounts do when services, disks and machines fail."""

import pytest

pytest.register_assert_rewrite("tests.faults.mounting", "tests.faults.service")
