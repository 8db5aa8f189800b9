"""For the tests of those who add a backend: the contract that it must keep. Needs pytest and nothing else beyond sweep.

May import what workers import (spec, workloads, backends). Nothing imports it but tests.
"""

from sweep.testing.backend_contract import BackendContract
from sweep.testing.builds import Built, build, check_refusals, find_imported_frameworks

__all__ = ["BackendContract", "Built", "build", "check_refusals", "find_imported_frameworks"]
