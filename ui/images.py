"""Pictures for the pages: everything is in `mspc_core.pictures`, which the report uses too."""

from mspc_core.pictures import (
    COLLAPSED,
    OUTLINE,
    THUMBNAIL,
    cut_out,
    data_url,
    enlarge,
    fit_mask,
    framed,
    heat,
    outline,
    overlay,
    region_of,
    side_by_side,
    signed,
    sprite,
    thumbnails,
)

__all__ = [
    "COLLAPSED",
    "OUTLINE",
    "THUMBNAIL",
    "cut_out",
    "data_url",
    "enlarge",
    "fit_mask",
    "framed",
    "heat",
    "outline",
    "overlay",
    "region_of",
    "side_by_side",
    "signed",
    "sprite",
    "thumbnails",
]
