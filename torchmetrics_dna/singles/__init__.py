"""Single images: ranks, nearest images, and where neurons are excited."""
