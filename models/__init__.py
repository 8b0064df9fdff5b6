"""What turns frames into annotations, learned or classical. Free of Beam, but for `transforms.handlers`."""
