"""What vLLM on a CPU lacks of one on a GPU, for tests alone. vLLM loads it in each of its processes, as a general plugin.

- plain linear layers: vLLM packs a layer's weights on a CPU, after which new ones cannot be loaded into it
- weight transfer through a file (`--weight-transfer-config '{"backend": "file"}'`), since vLLM's own needs NCCL

A trainer that talks to such a server calls `patch_trl()` first.
"""

import tempfile
from pathlib import Path


def register() -> None:
    import torch
    import vllm.model_executor.layers.linear as linear
    import vllm.model_executor.layers.utils as utils
    import vllm.model_executor.layers.vocab_parallel_embedding as embedding
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    def plain(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    for module in (utils, linear, embedding):
        module.dispatch_cpu_unquantized_gemm = plain
    if "file" not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine("file", "vllm_cpu_test_engine", "FileEngine")


def patch_trl() -> None:
    from safetensors.torch import save_file
    from trl.generation.vllm_client import VLLMClient

    def init_communicator(self, device=0):
        self._post(f"{self.base_url}/init_weight_transfer_engine", json={"init_info": {}})

    def update_named_params(self, metadata, named_params):
        self._start_weight_update()
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "weights.safetensors")
            save_file({name: tensor.detach().clone().contiguous() for name, tensor in named_params}, path)
            self._post(f"{self.base_url}/update_weights", json={"update_info": {"path": path}})
        self._finish_weight_update()

    VLLMClient.init_communicator = init_communicator
    VLLMClient.update_named_params = update_named_params
