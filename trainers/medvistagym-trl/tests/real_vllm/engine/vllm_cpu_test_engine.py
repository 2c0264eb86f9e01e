"""Weights from a file, loaded in place."""

from dataclasses import dataclass

from safetensors.torch import load_file
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo


@dataclass
class FileInit(WeightTransferInitInfo):
    pass


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    path: str = ""


class FileEngine(WeightTransferEngine):
    init_info_cls = FileInit
    update_info_cls = FileUpdate

    def init_transfer_engine(self, init_info):
        pass

    def start_weight_update(self):
        pass

    def finish_weight_update(self):
        pass

    def receive_weights(self, update_info):
        self.model.load_weights(list(load_file(update_info.path).items()))

    def shutdown(self):
        pass
