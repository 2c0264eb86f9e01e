"""Results that are wrong on purpose, so that a policy learns when to doubt: dropped, shifted or contradicted, by a seed.

May use the tasks' sentences. `--executor perturb:rate=0.2` has them wherever an executor is named.
"""

from medvistagym_models.perturbation._executor import make_perturbing_executor
from medvistagym_models.perturbation._perturb import Perturber
from medvistagym_models.perturbation._settings import PerturbationSettings, parse_settings

__all__ = ["PerturbationSettings", "Perturber", "make_perturbing_executor", "parse_settings"]
