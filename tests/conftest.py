"""What all test folders share: failing laws and contracts print the values they compared."""

import pytest

pytest.register_assert_rewrite("tests.laws", "tests.contracts")
