"""What this machine has and what kerasptb would use of it."""

import importlib.metadata
import platform

import tensorflow as tf

import kerasptb
from kerasptb.data.sources import find_corpus
