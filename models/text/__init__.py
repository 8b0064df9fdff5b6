"""On-screen text: detection, recognition and the share of the image that text covers."""
