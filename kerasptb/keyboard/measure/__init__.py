"""How good a model is as a keyboard: texts that are typed, without errors and with them."""
