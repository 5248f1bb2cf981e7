from kerasptb.runs.recipe import settings_of_recipe
from kerasptb.runs.settings import asked_settings


def test_several_processes_are_not_timed():
    asked = asked_settings({}, {})
    _, _, alone, _ = settings_of_recipe("auto", asked, num_tokens=1_000_000)
    _, _, together, _ = settings_of_recipe("auto", asked, num_tokens=1_000_000, workers=2)
    assert (alone.minutes, together.minutes, together.epochs) == (30, None, 60)
