"""What results say: differences, and all sentences on them."""
