"""What goes wrong elsewhere: the common build of a lambda architecture beside Braid, on one load with faults."""
