"""What each command does: its options, and the steps behind each; heavy imports happen inside the steps."""
