"""The static agent of the release build does the same: other files' tests once more. All of them: --nightly."""

import os
import unittest

import test_in_place
import test_outside
import test_recovery

RELEASE_AGENT = os.path.join(os.environ.get("TRAINCTL_RELEASE_DIR", ""), "trainctl-agent")
released = unittest.skipUnless(os.path.exists(RELEASE_AGENT), "there is no release build of the agent")


@released
class FromOutside(test_outside.FromOutside):
    agent = RELEASE_AGENT


@released
class ByItself(test_recovery.ByItself):
    agent = RELEASE_AGENT


@released
class InPlace(test_in_place.InPlace):
    agent = RELEASE_AGENT


if __name__ == "__main__":
    unittest.main()
