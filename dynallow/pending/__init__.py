"""Changes on trial: what takes itself back unless somebody confirms it in time."""
