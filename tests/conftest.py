"""What holds for all tests."""

import os

from hypothesis import settings

# A busy machine is slow, which is no failure. CI tries the same examples each time, so that it never fails by chance;
# everybody else's runs look for new ones.
settings.register_profile("mesh", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mesh")
