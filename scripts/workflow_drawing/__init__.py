"""How a planned workflow is drawn: so far its wires."""
