"""The compiled module. Where it cannot be built, the distribution installs without it and the tools do without."""

import sys
import sysconfig

from setuptools import Extension, setup

FOLDER = "src/medvistagym_native"
# Neither lets the compiler reorder or contract what is calculated.
UNIX = ["-O3", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
WINDOWS = ["/O2", "/fp:precise"]

KERNELS = Extension(
    "medvistagym_native._kernels",
    [f"{FOLDER}/{name}.c" for name in ("_kernels", "contrast", "enlarging", "levels", "masks", "png")],
    depends=[f"{FOLDER}/kernels.h"],
    extra_compile_args=WINDOWS if sys.platform == "win32" else UNIX,
    py_limited_api=True,
    optional=True,
)

if sysconfig.get_config_var("Py_GIL_DISABLED"):  # there is no limited API without the interpreter's lock
    setup()
else:
    setup(ext_modules=[KERNELS], options={"bdist_wheel": {"py_limited_api": "cp311"}})
