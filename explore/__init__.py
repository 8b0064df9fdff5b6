"""What people do with a finished data set. Reads outputs only, knows no Beam."""
