"""What the host does on a card, and how this pack's networks go along: whole loading, attention, full precision."""
