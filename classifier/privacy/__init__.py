"""What is stored about a person: inventory, export, deletion."""
