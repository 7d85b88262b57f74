"""Low rank with known noise: what a scan repeats a thousand times, found without a network."""
