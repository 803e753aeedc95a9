"""What the runners do: their options, and the steps behind each; heavy imports happen inside the steps."""
