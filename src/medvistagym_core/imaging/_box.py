"""Rectangles on the 0-1000 grid of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

    Resample = Callable[[np.ndarray, int, int], np.ndarray]

BOX_GRID_SIZE = 1000


class Box(NamedTuple):
    """A rectangle on the 0-1000 grid of an image.

    Attributes:
        x0: Left edge, 0 to 999.
        y0: Top edge, 0 to 999.
        x1: Right edge, exclusive, 1 to 1000.
        y1: Bottom edge, exclusive, 1 to 1000.
    """

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        number = core_schema.int_schema(ge=0, le=BOX_GRID_SIZE, strict=True)
        return core_schema.no_info_after_validator_function(
            cls.from_list,
            core_schema.list_schema(number, min_length=4, max_length=4),
            serialization=core_schema.plain_serializer_function_ser_schema(list),
        )

    @classmethod
    def from_list(cls, numbers: list[int]) -> Box:
        """Box of four integers within 0 to 1000.

        Raises:
            ValueError: The box is empty or its corners are swapped.
        """
        box = cls(*numbers)
        if box.x0 >= box.x1 or box.y0 >= box.y1:
            raise ValueError(f"a box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1, not {list(box)}")
        return box
