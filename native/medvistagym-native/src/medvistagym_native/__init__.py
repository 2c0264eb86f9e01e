"""Kernels in C that the tools of MedVistaGym use where this is installed (`_kernels`). Research only, not for clinical use."""
