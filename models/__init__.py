"""Models that turn frames into annotations, learned or classical; free of Beam."""
