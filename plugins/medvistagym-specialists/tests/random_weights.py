"""Writes weights at random in the layout of a specialist: `python random_weights.py NAME FOLDER`, in its environment.

The classes are those of the package; only the figures in them are made up.
"""

import json
import sys
from pathlib import Path

import torch


def torchxrayvision(folder: Path) -> None:
    import torchxrayvision
    from safetensors.torch import save_file

    state = torchxrayvision.models.DenseNet(num_classes=18).state_dict()
    save_file({name: one.contiguous() for name, one in state.items()}, folder / "densenet121-res224-all.safetensors")


def torchxrayvision_anatomy(folder: Path) -> None:
    from torchxrayvision.baseline_models.chestx_det import PSPNet
    from torchxrayvision.baseline_models.chestx_det.ptsemseg.pspnet import pspnet

    state = pspnet(len(PSPNet.targets)).state_dict()
    parallel = {f"module.{name}": one for name, one in state.items()}  # as it was trained, on several devices
    torch.save(parallel, folder / "pspnet_chestxray_best_model_4.pth")


def lungmask(folder: Path) -> None:
    from lungmask.resunet import UNet

    network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    torch.save(network.state_dict(), folder / "unet_r231-d5d2fc3d.pth")


def lungmask_pickle(folder: Path) -> None:
    torch.save(lungmask, folder / "unet_r231-d5d2fc3d.pth")  # the function, by its name


def hdbet(folder: Path) -> None:
    _nnunet(folder / "release_2.0.0", {"background": 0, "brain": 1}, "all", "nnUNetTrainer", [2.0, 2.0, 2.0])


def totalsegmentator(folder: Path) -> None:
    from totalsegmentator.map_to_binary import class_map

    labels = {"background": 0, **{name: number for number, name in class_map["total"].items()}}
    inside = "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
    where = folder / "Dataset298_TotalSegmentator_total_6mm_1559subj" / inside
    _nnunet(where, labels, "0", "nnUNetTrainer_4000epochs_NoMirroring", [6.0, 6.0, 6.0])


def _nnunet(folder: Path, labels: dict[str, int], fold: str, trainer: str, spacing: list[float]) -> None:
    """A small U-Net as nnU-Net leaves a trained one."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    channels = "CT" if len(labels) > 2 else "MRI"
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    plans = {
        "dataset_name": folder.parent.name, "plans_name": "nnUNetPlans", "original_median_spacing_after_transp": spacing,
        "original_median_shape_after_transp": [64, 64, 64], "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"max": 3000.0, "mean": 50.0, "median": 50.0, "min": -1000.0, "std": 300.0,
                  "percentile_00_5": -900.0, "percentile_99_5": 1000.0}
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
                "patch_size": [32, 32, 32], "median_image_size_in_voxels": [64, 64, 64], "spacing": spacing,
                "normalization_schemes": ["CTNormalization" if channels == "CT" else "ZScoreNormalization"],
                "use_mask_for_norm": [False], "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": resampling, "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
                "resampling_fn_probabilities_kwargs": resampling, "batch_dice": False,
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": 2, "features_per_stage": [4, 8], "conv_op": "torch.nn.modules.conv.Conv3d",
                        "kernel_sizes": [[3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 2]],
                        "n_conv_per_stage": [1, 1], "n_conv_per_stage_decoder": [1], "conv_bias": True,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                        "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            }
        },
    }  # fmt: skip
    dataset = {
        "channel_names": {"0": channels}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz", "name": "made up"
    }  # fmt: skip
    (folder / f"fold_{fold}").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    manager = PlansManager(plans)
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), 1, len(labels), enable_deep_supervision=False
    )
    checkpoint = {
        "network_weights": network.state_dict(), "trainer_name": trainer, "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }  # fmt: skip
    torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")


if __name__ == "__main__":
    torch.manual_seed(0)
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    globals()[sys.argv[1]](target)
