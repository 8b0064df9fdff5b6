"""Parts of SpatialVID's published data sets: single clips out of groups of thousands."""
