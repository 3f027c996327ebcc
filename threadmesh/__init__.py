"""What every unit of the mesh shares; it knows none of them."""
