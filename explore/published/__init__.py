"""Downloads single clips of SpatialVID's published data sets."""
