"""What a small blindspot network adds to the guide, where held-out counts say that it does."""
