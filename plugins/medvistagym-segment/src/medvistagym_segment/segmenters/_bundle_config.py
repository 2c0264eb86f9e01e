"""What a MONAI bundle's configuration asks for: metadata, network, preprocessing and inferer, read from its JSON files.

A bundle's configuration can hold Python to be evaluated, and arguments that make a network fetch its weights. Neither happens:
the network and its arguments must be among those listed here, its arguments numbers and words, and the preprocessing must be
made of the transforms listed here. Anything else is refused by name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.tools import parse_document

# What reads files or changes only the container.
_IGNORED_TRANSFORMS: Final = frozenset({"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord", "CastToTyped"})
_SPATIAL_TRANSFORMS: Final = frozenset({"Orientationd", "Spacingd"})
_INTENSITY_TRANSFORMS: Final = frozenset(
    {"ScaleIntensityRanged", "ScaleIntensityd", "NormalizeIntensityd", "ScaleIntensityRangePercentilesd"}
)
_READ_TRANSFORMS: Final = _INTENSITY_TRANSFORMS | _SPATIAL_TRANSFORMS
_INFERER_KEYS: Final = ("_target_", "roi_size", "sw_batch_size", "mode", "overlap", "padding_mode", "sigma_scale")
_BLENDING_KEYS: Final = ("mode", "overlap", "padding_mode", "sigma_scale")
_MAX_REFERENCES: Final = 20  # followed one after the other
_MAX_VALUES: Final = 10_000  # that a section consists of, once its references are followed
_MAX_CONFIG_BYTES: Final = 4 * 2**20
_MAX_NUMBER: Final = 8192  # the largest of real networks, a size of a layer, is 3072
_MAX_INTENSITY: Final = 1e9
_MAX_PARTS: Final = 64  # of a list
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_COMMON: Final = frozenset({"spatial_dims", "in_channels", "out_channels"})
_SEGRESNET: Final = _COMMON | {"init_filters", "act", "norm", "blocks_down", "blocks_up", "upsample_mode"}
_BASIC_UNET: Final = _COMMON | {"features", "act", "norm", "bias", "dropout", "upsample"}
_UNET: Final = _COMMON | {"channels", "strides", "kernel_size", "up_kernel_size", "dropout"}
NETWORKS: Final[Mapping[str, frozenset[str]]] = {
    "UNet": _UNET | {"num_res_units", "act", "norm", "bias", "adn_ordering"},
    "AttentionUnet": _UNET,
    "BasicUNet": _BASIC_UNET,
    "BasicUNetPlusPlus": _BASIC_UNET | {"deep_supervision"},
    "DynUNet": _COMMON
    | {"kernel_size", "strides", "upsample_kernel_size", "filters", "dropout", "norm_name", "act_name"}
    | {"deep_supervision", "deep_supr_num", "res_block", "trans_bias"},
    "SegResNet": _SEGRESNET | {"dropout_prob", "norm_name", "num_groups", "use_conv_final"},
    "SegResNetDS": _SEGRESNET | {"dsdepth", "resolution"},
    "SegResNetDS2": _SEGRESNET | {"dsdepth", "resolution"},
    "UNETR": _COMMON
    | {"img_size", "feature_size", "hidden_size", "mlp_dim", "num_heads", "proj_type", "norm_name", "conv_block"}
    | {"res_block", "dropout_rate", "qkv_bias", "save_attn"},
    "SwinUNETR": _COMMON
    | {"img_size", "patch_size", "depths", "num_heads", "window_size", "qkv_bias", "mlp_ratio", "feature_size"}
    | {"norm_name", "drop_rate", "attn_drop_rate", "dropout_path_rate", "normalize", "patch_norm", "use_checkpoint"}
    | {"downsample", "use_v2"},
    "VNet": _COMMON | {"act", "dropout_prob", "dropout_prob_down", "dropout_prob_up", "dropout_dim", "bias"},
    "HighResNet": _COMMON | {"norm_type", "acti_type", "dropout_prob", "bias", "layer_params", "channel_matching"},
}
"""The networks that are taken, of `monai.networks.nets`, with their arguments; none of these names a file or an address."""


@dataclasses.dataclass(frozen=True)
class PreprocessingStep:
    """A step of preprocessing: a transform of `monai.transforms`, without the final d, and its arguments."""

    transform: str
    options: Mapping[str, Any]

    @property
    def is_spatial(self) -> bool:
        """Whether it moves voxels, so that masks have to be moved back."""
        return f"{self.transform}d" in _SPATIAL_TRANSFORMS


@dataclasses.dataclass(frozen=True)
class BundleConfig:
    """A bundle's configuration, checked.

    Attributes:
        name: The bundle's, for sentences.
        metadata: configs/metadata.json.
        network: Class in `monai.networks.nets`.
        network_options: Its arguments.
        steps: The preprocessing, in order.
        axes: 2 or 3, those of the network's input.
        sigmoid: Whether each channel is thresholded for itself.
        inverts_probabilities: Whether it is the probabilities that are brought back to the image's voxels, by the interpolation
            of the preprocessing; else it is the labels, by the nearest voxel.
        roi_size: Size of a sliding window; None for the whole image at once.
        blending: Other arguments of the sliding-window inferer.
        max_windows: How many windows the bundle runs at once.
    """

    name: str
    metadata: Mapping[str, Any]
    network: str
    network_options: Mapping[str, Any]
    steps: tuple[PreprocessingStep, ...]
    axes: int
    sigmoid: bool
    inverts_probabilities: bool
    roi_size: tuple[int, ...] | None
    blending: Mapping[str, Any]
    max_windows: int

    def label_channels(self, channels: int, *, each: bool) -> list[tuple[int, str]]:
        """The channels of the network's output that are labels, with their names: all but the background.

        Args:
            channels: How many there are.
            each: Whether each channel is a mask of its own, and channel 0 not the background by its place.
        """
        names = self.metadata["network_data_format"]["outputs"]["pred"].get("channel_def", {})
        if channels == 1:  # a bundle with one channel may name its background all the same
            return [(0, next((str(name) for name in names.values() if name != "background"), "label 0"))]
        labels = [(k, " ".join(str(names.get(str(k), f"label {k}")).split()) or f"label {k}") for k in range(channels)]
        return [(k, name) for k, name in labels if name.lower() != "background" and (each or k > 0)]


class RefusedBundleError(ValueError):
    """A bundle that is not used; the sentence says why."""


def refuse_bundle(name: str, reason: str) -> RefusedBundleError:
    """The error that says why a bundle is not used."""
    return RefusedBundleError(f"the bundle {name} cannot be used: {reason}")


def read_bundle_config(folder: Path) -> BundleConfig:
    """The configuration of the bundle in a folder.

    Raises:
        ValueError: Something is missing, or is not what is taken; the sentence says what.
    """
    name = folder.name
    try:
        return _read_bundle_config(name, folder)
    except RefusedBundleError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        # values of other types than MONAI documents
        reason = " ".join(str(error).split())[:160]
        raise refuse_bundle(name, f"its configuration is not in the form of a bundle's: {reason}") from None
    except RecursionError:
        raise refuse_bundle(name, "its configuration is nested too deeply") from None


def _read_bundle_config(name: str, folder: Path) -> BundleConfig:
    metadata = _check_metadata(name, _read_json(name, folder / "configs" / "metadata.json"))
    content = _Content(name, _read_json(name, folder / "configs" / "inference.json"))
    network, network_options = _network(content)
    axes = len(metadata["network_data_format"]["inputs"]["image"].get("spatial_shape", [])) or 3
    inferer = _inferer(content)
    roi_size = inferer.get("roi_size")
    return BundleConfig(
        name=name,
        metadata=metadata,
        network=network,
        network_options=network_options,
        steps=_preprocessing(content, axes),
        axes=axes,
        sigmoid=any(
            str(step.get("_target_", "")).endswith("Activationsd") and step.get("sigmoid") is True
            for step in content.transforms("postprocessing")
        ),
        inverts_probabilities=_inverts_probabilities(content),
        roi_size=None if roi_size is None else tuple(int(n) for n in roi_size),
        blending={key: inferer[key] for key in _BLENDING_KEYS if key in inferer},
        max_windows=int(inferer.get("sw_batch_size", 1)),
    )


@dataclasses.dataclass(frozen=True)
class _Content:
    """configs/inference.json."""

    name: str
    config: Mapping[str, Any]
    _counts: dict[str, int] = dataclasses.field(default_factory=dict)  # of values, by section

    def refuse(self, reason: str) -> ValueError:
        return refuse_bundle(self.name, reason)

    def transforms(self, key: str) -> list[dict[str, Any]]:
        """The transforms of a section, as they are written."""
        section = self.config.get(key, {})
        transforms = section.get("transforms", []) if isinstance(section, Mapping) else []
        if isinstance(transforms, str):
            transforms = self.literal(transforms, key)
        return [transform for transform in transforms if isinstance(transform, dict)]

    def literal(self, value: Any, section: str, depth: int = 0) -> Any:
        """The value with `@references` followed; refused where it would have to be evaluated as Python."""
        if depth > _MAX_REFERENCES:
            raise self.refuse(f"{section} refers to itself")
        self._counts[section] = self._counts.get(section, 0) + 1
        if self._counts[section] > _MAX_VALUES:  # references to references multiply
            raise self.refuse(f"{section} has more than {_MAX_VALUES} values")
        if isinstance(value, str) and value.startswith("$"):
            raise self.refuse(f"{section} holds Python to be evaluated ({value[:40]}), which is never done")
        if isinstance(value, str) and value.startswith("@"):
            target: Any = self.config
            for key in value[1:].replace("::", "#").split("#"):
                try:
                    target = target[int(key)] if isinstance(target, Sequence) else target[key]
                except (KeyError, IndexError, ValueError, TypeError):
                    raise self.refuse(f"{section} refers to {value}, which is not there") from None
            return self.literal(target, section, depth + 1)
        if isinstance(value, dict):
            return {key: self.literal(part, section, depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self.literal(part, section, depth + 1) for part in value]
        return value


def _read_json(name: str, file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_CONFIG_BYTES:
            raise refuse_bundle(name, f"{file.name} is longer than {_MAX_CONFIG_BYTES >> 20} MiB")
        content = parse_document(file.read_bytes())
    except FileNotFoundError:
        raise refuse_bundle(name, f"it has no {file.parent.name}/{file.name}") from None
    except OSError as error:
        raise refuse_bundle(name, f"{file.name} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise refuse_bundle(name, f"{file.name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise refuse_bundle(name, f"{file.name} holds no object")
    return content


def _check_metadata(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    for key in ("version", "monai_version", "task", "network_data_format"):
        if key not in metadata:
            raise refuse_bundle(name, f"its metadata has no {key}")
    try:
        inputs = metadata["network_data_format"]["inputs"]
        (input_name,) = inputs
        channels = inputs[input_name]["num_channels"]
        metadata["network_data_format"]["outputs"]["pred"]["num_channels"]
    except (KeyError, TypeError, ValueError):
        raise refuse_bundle(name, "its metadata does not describe one input and the output pred") from None
    if input_name != "image" or channels != 1:
        raise refuse_bundle(name, f"it takes {channels} channels of {input_name}; one channel of image is given")
    return metadata


def _preprocessing(content: _Content, axes: int) -> tuple[PreprocessingStep, ...]:
    """The steps in the bundle's order."""
    steps: list[PreprocessingStep] = []
    for transform in content.transforms("preprocessing"):
        kind = str(transform.get("_target_", "")).rsplit(".", 1)[-1]
        if transform.get("_disabled_") is True or kind in _IGNORED_TRANSFORMS:
            continue  # what is ignored need not be literal: EnsureTyped may name a device
        if kind not in _READ_TRANSFORMS:
            raise content.refuse(f"its preprocessing has {kind or 'an unnamed step'}, which is not one of those taken")
        left_out = ("_target_", "_disabled_", "keys", "allow_missing_keys")
        options = {k: v for k, v in content.literal(transform, "preprocessing").items() if k not in left_out}
        if odd := next((key for key, value in options.items() if not _is_plain(value, _MAX_INTENSITY)), None):
            raise content.refuse(f"its {kind} has {odd[:80]} = {str(options[odd])[:80]}; numbers and words are taken")
        if kind == "Spacingd":
            options = _spacing_options(content, options)
        elif kind == "Orientationd":
            if options.get("axcodes") not in ("RAS", "LPS"):
                raise content.refuse(f"its Orientationd asks for {options.get('axcodes')}; RAS and LPS are taken")
            # MONAI 1.6 warns where the ends of its axes are left out, and where there are more codes than axes
            options = {"axcodes": options["axcodes"][:axes], "labels": (("L", "R"), ("P", "A"), ("I", "S"))}
        steps.append(PreprocessingStep(kind[:-1], options))
    return tuple(steps)


def _spacing_options(content: _Content, options: dict[str, Any]) -> dict[str, Any]:
    """Those of a Spacingd, of the first image where they are given by image."""
    pixdim = [float(n) for n in options["pixdim"]]
    if min(pixdim) <= 0:
        raise content.refuse(f"its Spacingd asks for {pixdim}; positive millimetres are taken")
    by_axis = ("pixdim", "min_pixdim", "max_pixdim")
    options = {k: v[0] if isinstance(v, list) and k not in by_axis else v for k, v in options.items()}
    if (mode := options.get("mode", "bilinear")) not in ("bilinear", "nearest"):
        raise content.refuse(f"its Spacingd asks for the mode {mode}; bilinear and nearest are taken")
    return {**options, "pixdim": tuple(pixdim)}


def _inverts_probabilities(content: _Content) -> bool:
    """Whether the postprocessing moves probabilities back before it makes labels of them, and does not take the nearest."""
    for transform in content.transforms("postprocessing"):
        kind = str(transform.get("_target_", "")).rsplit(".", 1)[-1]
        if transform.get("_disabled_") is not True and kind in ("Invertd", "AsDiscreted"):
            return kind == "Invertd" and transform.get("nearest_interp") is False
    return False


def _inferer(content: _Content) -> dict[str, Any]:
    section = content.config.get("inferer", {})
    if not isinstance(section, Mapping):
        raise content.refuse("its inferer is not written out")
    inferer: dict[str, Any] = content.literal({key: section[key] for key in _INFERER_KEYS if key in section}, "inferer")
    kind = str(inferer.get("_target_", "SimpleInferer")).rsplit(".", 1)[-1]
    if kind not in ("SlidingWindowInferer", "SimpleInferer"):
        raise content.refuse(f"its inferer is {kind}; SlidingWindowInferer and SimpleInferer are taken")
    return inferer


def _network(content: _Content) -> tuple[str, dict[str, Any]]:
    """The class's name in `monai.networks.nets`, and its arguments."""
    definition = content.literal(content.config.get("network_def"), "network_def")
    target = str((definition or {}).get("_target_", ""))
    module, _, name = target.rpartition(".")
    if module not in ("", "monai.networks.nets") or name not in NETWORKS:
        taken = f"{', '.join(NETWORKS)} of monai.networks.nets are taken"
        raise content.refuse(f"its network is {target[:80] or 'not given'}; {taken}")
    options = {key: value for key, value in definition.items() if not key.startswith("_")}
    for key, value in options.items():
        if key not in NETWORKS[name]:
            raise content.refuse(f"its {name} has the argument {key[:80]}, which is not one of those taken")
        if not _is_plain(value):
            raise content.refuse(
                f"its {name} has {key} = {str(value)[:80]}; numbers up to {_MAX_NUMBER} and single words are taken"
            )
    return name, options


def _is_plain(value: Any, max_number: float = _MAX_NUMBER) -> bool:
    """Whether a value consists of numbers, words and None: no address, no path, no number that is a size out of reason."""
    if isinstance(value, bool | None):
        return True
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= max_number
    if isinstance(value, str):
        return not value or _WORD.fullmatch(value) is not None
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return isinstance(parts, list) and len(parts) <= _MAX_PARTS and all(_is_plain(part, max_number) for part in parts)
