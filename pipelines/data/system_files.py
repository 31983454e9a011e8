"""The names of files and folders that systems and programs leave among photos. Every verb leaves out the same ones."""

# Compared without regard to case. Names that begin with a dot need no entry: all of them are left out, such as
# .DS_Store, ._photo.jpg, .ipynb_checkpoints, .git, .Trash-1000, .thumbnails and .Spotlight-V100.
SYSTEM_NAMES = frozenset(
    (
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "folder.htt", "autorun.inf"),
        *("$recycle.bin", "system volume information", "found.000", "zbthumbnail.info"),
        # macOS
        *("__macosx", "icon\r", "network trash folder", "temporary items"),
        # Linux
        *("lost+found",),
        # Synology, QNAP and other network disks
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@__thumb", "@sharebin", "@sharesnap"),
        *("#recycle", "#snapshot", "~snapshot"),
        # Programs
        *("__pycache__", "picasa.ini"),
    )
)


def is_system_name(name: str) -> bool:
    """Returns whether a file or a folder of this name is hidden, or comes from a system rather than from a person."""
    return name.startswith((".", "~$")) or name.casefold() in SYSTEM_NAMES


# Endings by which a file is counted as a photo where it is only named and not opened.
PHOTO_ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
        *(".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".jxl"),
        *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".psd", ".dcm", ".svg", ".exr", ".tga"),
    )
)
