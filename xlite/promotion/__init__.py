"""From the winner to the package: training, judging, what is recorded."""
