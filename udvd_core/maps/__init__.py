"""Maps of elements and bands from spectra: numerics only; no window knows who shows it."""
