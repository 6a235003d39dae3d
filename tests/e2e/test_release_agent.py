"""The static agent of the release build does the same: some of the other files' tests once more."""

import os
import unittest

import test_outside
from runs import RunCase

RELEASE_AGENT = os.path.join(os.environ.get("TRAINCTL_RELEASE_DIR", ""), "trainctl-agent")


@unittest.skipUnless(os.path.exists(RELEASE_AGENT), "there is no release build of the agent")
class WithTheReleaseAgent(RunCase):
    agent = RELEASE_AGENT

    test_a_rank_killed_while_submit_waits = test_outside.FromOutside.test_a_rank_killed_while_submit_waits
    test_a_killed_head_costs_an_attempt_and_no_more = test_outside.FromOutside.test_a_killed_head_costs_an_attempt_and_no_more
    test_no_process_outlives_its_run_by_ten_seconds = test_outside.FromOutside.test_no_process_outlives_its_run_by_ten_seconds
    grandchildren = test_outside.FromOutside.grandchildren
    check_grandchildren = test_outside.FromOutside.check_grandchildren


if __name__ == "__main__":
    unittest.main()
