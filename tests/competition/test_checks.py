"""Ids that can't be folder names are refused."""

import pytest
from helpers.refusals import refused

from cspine.competition import checks


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "1..2", "1.2\n", "1/2", "\u0661.2", ".1", "1.", "1" * 65, None, 1.2]
)
def test_unfit_uids_are_refused(uid):
    refused(lambda: checks.check_study_uid(uid), [repr(uid)])
