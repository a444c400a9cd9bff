"""Extensions of image files. The modules of paths and of file formats both import them from here."""

EXTENSIONS = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpeg", ".jpg", ".jxl", ".pbm", ".pgm", ".png",
    ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
