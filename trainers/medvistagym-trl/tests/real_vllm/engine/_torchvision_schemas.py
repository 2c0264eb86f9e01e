"""Let a torchvision whose C++ library does not load be imported: declare the two operators its Python code refers to.

Loaded by `_torchvision_schemas.pth` at interpreter start; costs nothing until torchvision is imported.
"""

import sys
from importlib.abc import MetaPathFinder

_KEEP = []


class _Declare(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEEP.append(library)


sys.meta_path.insert(0, _Declare())
