import numpy as np
import pandas as pd
import pytest

from cspine.competition.labels import PREDICTION_TYPES
from cspine.competition.metric import FORMS
from cspine.competition.scoring import title_of, training_constants
from cspine.competition.submission import SUBMIT_CLIP


def test_constants_for_a_level_that_never_breaks_can_still_be_submitted():
    train = pd.DataFrame(0, index=range(4), columns=list(PREDICTION_TYPES))
    train.loc[0, ["C2", "patient_overall"]] = 1
    constants = training_constants(train)
    assert constants[0] == SUBMIT_CLIP
    assert constants[[1, 7]] == pytest.approx([0.4, 0.4])


def test_every_form_has_a_title_of_one_line():
    titles = [title_of(form) for form in FORMS]
    assert all(title.startswith(f"{form} form: ") for title, form in zip(titles, FORMS, strict=True))
    assert not any("\n" in title or title.endswith(".") for title in titles)
    assert np.unique(titles).size == len(FORMS)
