"""Storage: URIs and file systems, the store, manifests, tables and shard members."""
