from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def emulated_amx():
    """The compiler's flag that puts functions of the tests in the place of AMX's instructions."""
    return f"-DKERASPTB_AMX_INSTRUCTIONS='\"{Path(__file__).parent / 'amx_emulated.h'}\"'"
