"""Scripts that measure speed and accuracy and print tables; no test is timed."""
