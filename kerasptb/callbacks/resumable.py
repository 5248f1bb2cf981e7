"""What a callback that looks at earlier epochs needs to go on in a resumed training."""


class Resumable:
    """Lets a callback take the epochs before from a run's history; a base beside a Keras callback with a `monitor`."""

    _past = ()  # the monitored values of the epochs so far

    def restore(self, history):
        """Takes the epochs of a training that goes on: a list of dicts, the logs of each."""
        self._past = [row[self.monitor] for row in history if self.monitor in row]
