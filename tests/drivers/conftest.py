"""Makes the assertions of the shared suite as telling as those of a test file."""

import pytest

pytest.register_assert_rewrite("renku_store.testing.driver_suite")
