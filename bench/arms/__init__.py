"""What Braid is measured beside: the same work with less, or as it was done before. Each is a process of its own."""
