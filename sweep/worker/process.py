"""The process around a model: set as its trial says before the model is loaded, and once more after.

The model's own code may change what belongs to the whole process. What a trial declares is set again and wins; what
else changed is noted, for the deployed program will have it too.

Worker side, Python 3.8.
"""

import gc

from sweep.isolate import denormals, procfs
from sweep.spec.process import Process


def set_up(process: Process) -> None:
    """Make this process what a plain `python script.py` has, but for what the trial declares.

    Raises:
        TrialError: the processor does not know a setting.
    """
    gc.unfreeze()  # the server froze what it had imported; the collector of a script sees all of it
    if process.allocator == "keep":
        procfs.keep_freed_memory()
    if process.denormals == "flush":
        denormals.flush()
