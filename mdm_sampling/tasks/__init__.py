"""What samplers are compared on: items with a prompt or a canvas, and an exact grader. One task, one file."""
