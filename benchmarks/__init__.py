"""Scripts that measure speed and accuracy and print ratios; never timed tests."""
