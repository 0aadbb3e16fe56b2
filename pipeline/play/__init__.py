"""Playing a world over messages: what the command's page and the node's widget ask, and what is answered."""
