from kerasptb.presets import Facts
from kerasptb.runs.recipe import settings_of_recipe
from kerasptb.runs.settings import asked_settings


def test_several_processes_are_not_timed():
    asked = asked_settings({}, {})
    _, _, alone, _ = settings_of_recipe("auto", Facts(1_000_000), asked)
    _, _, together, _ = settings_of_recipe("auto", Facts(1_000_000), asked, workers=2)
    assert (alone.minutes, together.minutes, together.epochs) == (30, None, 60)
