"""What all test folders share: failing laws and contracts print the values they compared; the real stack is `stack`."""

import pytest

pytest.register_assert_rewrite("tests.laws", "tests.contracts")

from tests.stack_fixture import stack  # noqa: E402, F401  # after the line above, which must come before any import
