"""Single images: rankings, nearest neighbours, and crops that excite neurons."""
