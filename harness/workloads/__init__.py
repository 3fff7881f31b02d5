"""What a block does."""
