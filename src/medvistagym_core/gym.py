"""The module that gymnasium ids name: `gymnasium.make("medvistagym_core.gym:medvistagym/<task>-v1")`."""

from medvistagym_core.environment._registration import NAMESPACE, make, make_vector, register_environments

__all__ = ["NAMESPACE", "make", "make_vector", "register_environments"]
