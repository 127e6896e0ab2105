"""What all test folders share: failing laws and contracts print the values they compared; the real stack is `stack`."""

import pytest
from hypothesis import settings

# no deadline: other processes share the cores; a failing example is printed so that it can be repeated
settings.register_profile("braid", deadline=None, print_blob=True)
settings.load_profile("braid")

pytest.register_assert_rewrite("tests.laws", "tests.contracts")

from tests.stack_fixture import stack  # noqa: E402, F401  # after the line above, which must come before any import
